"""The browser page: the files of a static site, from the compiled page that travels with the package.

The TypeScript that the page is compiled from is `runtime/web/page`; `npm run build` there writes `page/` here.
"""
