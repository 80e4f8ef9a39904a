// One element of sampler_step; the formulas stand in spectac_fast/ops/sampler_step.py.
#pragma once

#include "math/hd.h"

namespace sf {

// A row of a solver table, in the order of the columns.
struct Row {
  float px, pf, py, ka, w0, w1, w2, cy, wn, kc, v0, v1, v2, vy;
};

// What one element of a step reads. A value that is absent is 0 and has coefficient 0.
struct Element {
  float x, f, y, h1, h2, noise;
};

// Comparisons instead of min and max: NaN passes through.
SF_HD float clamp(float v, float lo, float hi) { return v < lo ? lo : (v > hi ? hi : v); }

SF_HD float predict(const Row& c, const Element& e, float lo, float hi) {
  return clamp(fma(c.py, e.y, fma(c.pf, e.f, c.px * e.x)), lo, hi);
}

SF_HD float correct(const Row& c, const Element& e, float d, float anchor) {
  return fma(c.vy, e.y, fma(c.v2, e.h2, fma(c.v1, e.h1, fma(c.v0, d, c.kc * anchor))));
}

SF_HD float advance(const Row& c, const Element& e, float d, float xa) {
  return fma(c.wn, e.noise, fma(c.cy, e.y, fma(c.w2, e.h2, fma(c.w1, e.h1, fma(c.w0, d, c.ka * xa)))));
}

// Absent inputs drop out of the row whatever it holds for them.
SF_HD Row without(Row c, bool y, bool h1, bool h2, bool noise) {
  if (!y) c.py = c.cy = c.vy = 0.0f;
  if (!h1) c.w1 = c.v1 = 0.0f;
  if (!h2) c.w2 = c.v2 = 0.0f;
  if (!noise) c.wn = 0.0f;
  return c;
}

}  // namespace sf
