"""A small renderer for the photo samples: solids, surfaces, light, ray marching and a phone's camera, in NumPy alone."""
