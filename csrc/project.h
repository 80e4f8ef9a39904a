// The arguments of the projection operators as plain pointers, checked once for both back ends. A volume is [n * n, nz],
// a column along the axis of rotation for every (y, x); a plane of a view is [n, nz] at one depth, and depth grows
// towards the detector.
#pragma once

#include "glue.h"
#include "math/projection.h"

namespace sf {

// Where the rotated columns of every view come from: [views, n, n] (view, depth, lateral).
struct Stencils {
  int64_t views, n;
  const int32_t* index;  // first of the four neighbours (y, x), (y, x + 1), (y + 1, x), (y + 1, x + 1)
  const float* weight;   // of the four
  const int32_t* span;   // [views, n, 2] the columns of a plane that lie in the field: first, and past the last

  SF_HD int64_t at(int64_t view, int64_t depth, int64_t lateral) const { return (view * n + depth) * n + lateral; }
};

// The columns of a plane that lie in the field.
struct Span {
  int64_t low, high;
};

SF_HD Span span_of(const int32_t* spans, int64_t n, int64_t view, int64_t depth) {
  const int32_t* s = spans + 2 * (view * n + depth);
  return {s[0], s[1]};
}

// The transposed stencils: what every column of the volume gets, view by view.
struct Shares {
  int64_t views, n;
  const int32_t* start;   // [n * n * views + 1] (column, view), places in the two others
  const int32_t* source;  // (depth << 16) | lateral
  const float* share;
  const int32_t* span;    // as of the stencils
};

// Half of a symmetric kernel for every depth, the middle first; null where there is no collimator.
struct Taps {
  const float* taps;  // [views or 1, n, reach + 1]
  int64_t reach, view_stride;

  SF_HD const float* of(int64_t view, int64_t depth) const { return taps + view * view_stride + depth * (reach + 1); }
};

// Probabilities [batch or 1, views, n, n, nz]; null where nothing attenuates.
struct Survival {
  const float* values;
  int64_t batch_stride;
};

inline Stencils unpack_stencils(const char* op, const Tensor& index, const Tensor& weight, const Tensor& span) {
  STD_TORCH_CHECK(index.dim() == 3 && index.size(1) == index.size(2), op, ": index must be [V, n, n].");
  const int64_t n = index.size(1);
  STD_TORCH_CHECK(2 <= n && n <= kMaxSide, op, ": n must be 2 to ", kMaxSide, ", found ", n, ".");
  return {index.size(0), n, read_from<int32_t>(index, index.numel(), op, "index"),
          read_from<float>(weight, 4 * index.numel(), op, "weight"),
          read_from<int32_t>(span, 2 * index.size(0) * n, op, "span")};
}

inline Shares unpack_shares(const char* op, const Tensor& start, const Tensor& source, const Tensor& share,
                            const Tensor& span, int64_t views, int64_t n) {
  STD_TORCH_CHECK(2 <= n && n <= kMaxSide, op, ": n must be 2 to ", kMaxSide, ", found ", n, ".");
  return {views, n, read_from<int32_t>(start, n * n * views + 1, op, "start"),
          read_from<int32_t>(source, source.numel(), op, "source"),
          read_from<float>(share, source.numel(), op, "share"), read_from<int32_t>(span, 2 * views * n, op, "span")};
}

inline Taps unpack_taps(const char* op, const MaybeTensor& taps, int64_t views, int64_t n) {
  if (!taps) return {nullptr, 0, 0};
  STD_TORCH_CHECK(taps->dim() == 3 && (taps->size(0) == 1 || taps->size(0) == views) && taps->size(1) == n &&
                      taps->size(2) >= 1, op, ": taps must be [V or 1, n, reach + 1].");
  const int64_t width = taps->size(2);
  return {read_from<float>(*taps, taps->numel(), op, "taps"), width - 1, taps->size(0) == 1 ? 0 : n * width};
}

inline Survival unpack_survival(const char* op, const MaybeTensor& survival, int64_t batch, int64_t views, int64_t n,
                                int64_t nz) {
  if (!survival) return {nullptr, 0};
  STD_TORCH_CHECK(survival->dim() == 5 && (survival->size(0) == 1 || survival->size(0) == batch), op,
                  ": survival must be [B or 1, V, n, n, nz].");
  const int64_t one = views * n * n * nz;
  return {read_from<float>(*survival, survival->size(0) * one, op, "survival"), survival->size(0) == 1 ? 0 : one};
}

// Volumes [batch, n, n, nz].
inline int64_t slices_of(const char* op, const Tensor& volume, int64_t n, const char* name) {
  STD_TORCH_CHECK(volume.dim() == 4 && volume.size(1) == n && volume.size(2) == n, op, ": ", name,
                  " must be [B, n, n, nz].");
  return volume.size(3);
}

}  // namespace sf
