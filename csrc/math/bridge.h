// One element of sampler_step and of bridge_add_noise; the formulas stand in spectac_fast/ops/<op>.py.
#pragma once

#include <cmath>

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

// What a network is trained to output, in the order of OBJECTIVES.
enum class Objective { grad, noise, ysubx };

// A timestep of the schedule: m and sqrt(delta).
struct Level {
  float m, s;
};

struct Noised {
  float x_t, target;
};

template <Objective kObjective>
SF_HD Noised add_noise(const Level& level, float x0, float y, float noise) {
  const float gap = y - x0;
  const float moved = fma(level.s, noise, level.m * gap);
  return {x0 + moved, kObjective == Objective::grad ? moved : kObjective == Objective::noise ? noise : gap};
}

}  // namespace sf
