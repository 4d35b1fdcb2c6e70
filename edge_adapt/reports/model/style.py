"""The style sheet of the page. Colours are Okabe and Ito's, which the colour-blind tell apart, darker on white for contrast."""

STYLE = """
:root {
  --paper: #fff; --panel: #f6f7f9; --ink: #1b222c; --soft: #5a6573; --rule: #dfe3e8; --blue: 0 98 155; --red: 196 78 0;
  --s0: #0072b2; --s1: #c44e00; --s2: #00805c; --s3: #a8508a; --s4: #8a6d00; --s5: #555e69;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #13171c; --panel: #1c2128; --ink: #e6eaf0; --soft: #a0abb8; --rule: #323a44; --blue: 86 180 233; --red: 240 120 40;
    --s0: #56b4e9; --s1: #f58a42; --s2: #3cc79b; --s3: #dd92be; --s4: #e6c84a; --s5: #b4bdc8;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 66rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "Liberation Sans", sans-serif;
}
h1 { margin: 0; font-size: 2rem; line-height: 1.2; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { margin: 0 0 0.25rem; font-size: 1.25rem; line-height: 1.3; }
h3 { margin: 1.75rem 0 0.5rem; font-size: 1rem; }
h3 small { margin-left: 0.5rem; font-size: 0.875rem; font-weight: normal; color: var(--soft); }
p { margin: 0 0 1rem; max-width: 44rem; }
.lead { margin: 0.25rem 0 1.75rem; color: var(--soft); }
section { margin-top: 2.75rem; padding-top: 1.5rem; border-top: 1px solid var(--rule); }
section > p, .note { color: var(--soft); }
.note { font-size: 0.875rem; }
.below { margin-top: 0.75rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: 0.75rem; margin: 0; }
.tiles div { padding: 0.8rem 1rem; border-radius: 0.5rem; background: var(--panel); }
.tiles dt { font-size: 0.875rem; color: var(--soft); }
.tiles dd { margin: 0; font-size: 1.5rem; line-height: 1.3; font-weight: 600; font-variant-numeric: tabular-nums; }
.tiles small { font-size: 0.875rem; font-weight: normal; color: var(--soft); white-space: nowrap; }
.columns {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.25rem 2.5rem; align-items: start;
}
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 0.3rem 1.25rem; margin: 0; font-size: 0.9375rem; }
.facts dt { color: var(--soft); }
.facts dd { margin: 0; overflow-wrap: anywhere; }
pre {
  margin: 1.25rem 0 0; padding: 0.75rem 1rem; border-radius: 0.5rem; background: var(--panel); font-size: 0.8125rem;
  white-space: pre-wrap; overflow-wrap: anywhere;
}
.columns h3 { margin-top: 0.5rem; }
.columns h3 small { display: block; margin: 0; }
@media (min-width: 60rem) { .columns.beside { grid-template-columns: max-content 1fr; } }
figure { margin: 0; }
table { border-collapse: collapse; font-size: 0.9375rem; font-variant-numeric: tabular-nums; }
caption { padding-bottom: 0.4rem; text-align: left; font-size: 0.875rem; color: var(--soft); }
th, td {
  padding: 0.3rem 0.9rem 0.3rem 0; border-bottom: 1px solid var(--rule);
  text-align: right; font-weight: normal; white-space: nowrap;
}
th:first-child, td:first-child { text-align: left; }
thead th { color: var(--soft); vertical-align: bottom; }
td small { color: var(--soft); font-size: 0.8125rem; }
.own { font-weight: 600; }
.scroll { overflow-x: auto; }
details { margin-top: 0.75rem; font-size: 0.875rem; }
summary { cursor: pointer; color: var(--soft); }
svg { display: block; width: 100%; max-width: 30rem; height: auto; font-size: 13px; }
svg text { fill: var(--ink); }
svg .tick, svg .label, svg .faint { fill: var(--soft); }
svg .faint { font-size: 12px; }
svg .middle { text-anchor: middle; }
svg .right { text-anchor: end; }
svg .end { font-weight: 600; font-size: 12.5px; }
svg .grid { stroke: var(--rule); }
svg .axis { stroke: var(--soft); }
svg .mark { stroke: var(--soft); stroke-dasharray: 2 4; }
svg .ideal { stroke: var(--soft); stroke-dasharray: 6 5; }
svg .line { fill: none; stroke-width: 2; }
svg .interval { stroke-width: 1.5; opacity: 0.6; }
svg .column { fill: var(--soft); opacity: 0.45; }
.s0 { stroke: var(--s0); } .s1 { stroke: var(--s1); } .s2 { stroke: var(--s2); }
.s3 { stroke: var(--s3); } .s4 { stroke: var(--s4); } .s5 { stroke: var(--s5); }
svg .t0 { fill: var(--s0); } svg .t1 { fill: var(--s1); } svg .t2 { fill: var(--s2); }
svg .t3 { fill: var(--s3); } svg .t4 { fill: var(--s4); } svg .t5 { fill: var(--s5); }
img { display: block; width: 3.25rem; height: 3.25rem; object-fit: cover; border-radius: 3px; background: var(--panel); }
.matrix th, .matrix td { padding: 0; border: 0; }
.matrix td { min-width: 2.3rem; height: 2.3rem; text-align: center; font-size: 0.8125rem; border: 1px solid var(--paper); }
.matrix td.off { background: rgb(var(--red) / var(--heat)); }
.matrix td.own { background: rgb(var(--blue) / var(--heat)); }
.matrix img { flex: none; width: 2rem; height: 2rem; }
.matrix thead img { margin: 0 auto; }
.matrix thead th { padding-bottom: 0.25rem; text-align: center; font-size: 0.8125rem; }
.matrix th[scope="row"] > div { display: flex; align-items: center; gap: 0.5rem; padding-right: 0.75rem; text-align: left; }
.matrix .number { width: 1.1rem; color: var(--soft); text-align: right; font-size: 0.8125rem; }
.name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.matrix .name { max-width: 10rem; font-size: 0.8125rem; }
.pairs { margin: 0; padding: 0; list-style: none; }
.pairs li { display: flex; align-items: center; gap: 0.6rem; margin-bottom: 0.5rem; font-size: 0.9375rem; }
.pairs img { flex: none; width: 2.5rem; height: 2.5rem; }
.pairs b { flex: none; width: 3rem; text-align: right; font-variant-numeric: tabular-nums; }
.pairs .name { min-width: 0; white-space: normal; overflow-wrap: anywhere; line-height: 1.35; }
.row {
  display: grid; grid-template-columns: 9.5rem calc(var(--shots) * 3.55rem) 1fr; gap: 0.4rem 1.25rem; align-items: start;
  padding: 0.6rem 0; border-top: 1px solid var(--rule);
}
.row.head { padding: 0 0 0.25rem; border: 0; font-size: 0.8125rem; color: var(--soft); }
.who { display: flex; gap: 0.5rem; align-items: baseline; min-width: 0; font-size: 0.9375rem; line-height: 1.35; }
.who .name { white-space: normal; overflow-wrap: anywhere; }
.badge {
  flex: none; width: 1.35rem; border-radius: 3px; background: var(--panel); text-align: center; font-size: 0.8125rem;
  line-height: 1.35rem; font-weight: 600;
}
.images { display: flex; flex-wrap: wrap; gap: 0.3rem; }
.query { width: 3.5rem; text-align: center; font-size: 0.75rem; line-height: 1.4; color: var(--soft); white-space: nowrap; }
.query img { width: 3.5rem; height: 3.5rem; }
.wrong img { padding: 3px; background: rgb(var(--red)); }
.wrong figcaption { color: var(--s1); font-weight: 600; }
footer { margin-top: 3rem; font-size: 0.875rem; color: var(--soft); }
@media (max-width: 46rem) {
  body { padding: 1.5rem 1rem 3rem; }
  h1 { font-size: 1.6rem; }
  .tiles { grid-template-columns: 1fr 1fr; }
  .row { grid-template-columns: 1fr; }
  .row.head { display: none; }
  .query, .query img { width: 3.3rem; }
  .query img { height: 3.3rem; }
  .support::before, .queries::before { flex-basis: 100%; font-size: 0.75rem; color: var(--soft); }
  .support::before { content: "learned from"; }
  .queries::before { content: "asked"; }
  .matrix .name { display: none; }
  .matrix td { min-width: 1.65rem; height: 1.9rem; font-size: 0.6875rem; }
  .matrix img { width: 1.5rem; height: 1.5rem; }
  .matrix th[scope="row"] > div { gap: 0.25rem; padding-right: 0.3rem; }
  th, td { padding-right: 0.55rem; font-size: 0.875rem; }
  td small { display: block; }
  .words th[scope="row"] { white-space: normal; }
}
@media print {
  :root {
    --paper: #fff; --panel: #f2f3f5; --ink: #000; --soft: #444c56; --rule: #ccd1d7; --blue: 0 98 155; --red: 196 78 0;
    --s0: #0072b2; --s1: #c44e00; --s2: #00805c; --s3: #a8508a; --s4: #8a6d00; --s5: #555e69;
  }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  html { font-size: 12px; }
  body { padding: 0; max-width: none; }
  section { margin-top: 1.5rem; padding-top: 1rem; break-inside: avoid; }
  section.long { break-inside: auto; }
  .columns { grid-template-columns: 1fr 1fr; }
  .columns.beside { grid-template-columns: max-content 1fr; }
  .episode { break-inside: avoid; }
  details { display: none; }
}
"""
