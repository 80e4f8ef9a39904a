// Marching down a strip of columns, four rows at a time. Pixels pass through shared memory once, so that they are loaded 16
// bytes at a time; each thread keeps its column's last rows in registers and mixes down the column; the moments pass
// through shared memory to the threads that mix along the rows, four windows each.
#pragma once

#include <cuda_runtime.h>

#include "cuda/tile.cuh"
#include "slice_metrics.h"

namespace sf {
namespace {

constexpr int kRows = 4;                         // of pixels or windows at a time
constexpr int kOutputs = 128;                    // windows of a strip
constexpr int kInputs = kOutputs + 16;           // pixels of a strip, at least 2 R more
constexpr int kThreads = 160;                    // one per column of pixels, in whole warps
constexpr int kBand = 32;                        // rows of windows of a block
constexpr int kQuads = kInputs / 4;              // of a row
static_assert(kRows * kQuads <= kThreads, "every thread loads at most one quad of each image");
static_assert(kRows * kOutputs / 4 <= kThreads, "every thread mixes at most four windows");

// Where a block works: the first row and column of its windows, and the end of its rows.
struct Place {
  int64_t plane;
  int top, left, bottom;
};

struct Sums {
  double ssim, squares;
};

template <bool kAligned, class Count, class Counts>
__device__ __forceinline__ Quad load_counts(const void* image, int64_t at, int count) {
  const Count* p = static_cast<const Count*>(image) + at;
  Quad q;
  if constexpr (kAligned) {
    const Counts w = *reinterpret_cast<const Counts*>(p);
    q = {{float(w.x), float(w.y), float(w.z), float(w.w)}};
  } else {
#pragma unroll
    for (int k = 0; k < 4; ++k) q.v[k] = k < count ? float(p[k]) : 0.0f;
  }
  return q;
}

template <bool kAligned>
__device__ __forceinline__ Quad load_pixels(const void* image, Pixel type, int64_t at, int count) {
  switch (type) {
    case Pixel::uint8: return load_counts<kAligned, uint8_t, uchar4>(image, at, count);
    case Pixel::uint16: return load_counts<kAligned, uint16_t, ushort4>(image, at, count);
    case Pixel::bfloat16: return load<kAligned>(image, NetType::bfloat16, at, count);
    case Pixel::float16: return load<kAligned>(image, NetType::float16, at, count);
    default: return load<kAligned>(static_cast<const float*>(image), at, count);
  }
}

// The quad of kRows rows from `row` that belongs to this thread; zeros outside the plane.
template <bool kAligned, class Call>
__device__ __forceinline__ Quad load_mine(const Call& call, const void* image, const Place& place, int row) {
  const int column = place.left + int(threadIdx.x) % kQuads * 4, left = int(call.width) - column;
  row += int(threadIdx.x) / kQuads;
  if (threadIdx.x >= kRows * kQuads || row < 0 || row >= int(call.height) || left <= 0) return Quad{};
  return load_pixels<kAligned>(image, call.type, (place.plane * call.height + row) * call.width + column, min(left, 4));
}

// The last 2 R rows of a column and kRows new ones.
template <int R>
struct Column {
  float x[2 * R + kRows], y[2 * R + kRows];

  __device__ __forceinline__ void push(const float (*new_x)[kInputs], const float (*new_y)[kInputs]) {
#pragma unroll
    for (int i = 0; i < 2 * R; ++i) {
      x[i] = x[i + kRows];
      y[i] = y[i + kRows];
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      x[2 * R + i] = new_x[i][threadIdx.x];
      y[2 * R + i] = new_y[i][threadIdx.x];
    }
  }
};

template <int R>
struct ColumnTaps {
  const Column<R>& column;
  int row;

  SF_HD Moments<float> operator()(int tap) const {
    return {column.x[row + R + tap], column.y[row + R + tap], 0.0f, 0.0f};
  }
};

// Moments of kRows rows, or those that four neighbouring windows of a row reach.
template <int kLength>
struct MomentArray {
  float mx[kLength], my[kLength], d[kLength], c[kLength];
};

template <int R>
struct RowTaps {
  const MomentArray<16>& row;
  int window;

  SF_HD Moments<float> operator()(int tap) const {
    const int at = window + R + tap;
    return {row.mx[at], row.my[at], row.d[at], row.c[at]};
  }
};

struct alignas(16) Shared {
  float x[kRows][kInputs], y[kRows][kInputs];
  MomentArray<kInputs> moments[kRows];
  Sums warps[kThreads / 32];
};

__device__ __forceinline__ void copy16(const float* from, float (&to)[16]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float4 w = reinterpret_cast<const float4*>(from)[i];
    to[4 * i] = w.x;
    to[4 * i + 1] = w.y;
    to[4 * i + 2] = w.z;
    to[4 * i + 3] = w.w;
  }
}

// Visits four neighbouring windows of this thread, and sums what `visit(moments, row, column)` returns; windows outside
// the plane count nothing.
template <int R, class Call, class Visit>
__device__ __forceinline__ float visit_windows(const Call& call, const Window<float, R>& window, const Place& place,
                                               const Shared& shared, int first, const Visit& visit) {
  const int row = threadIdx.x / 32, quad = threadIdx.x % 32 * 4;
  const int column = place.left + quad, width = int(call.map_width());
  if (row >= kRows || first + row >= int(call.map_height()) || column >= width) return 0.0f;
  const MomentArray<kInputs>& moments = shared.moments[row];
  MomentArray<16> taps;
  copy16(moments.mx + quad, taps.mx);
  copy16(moments.my + quad, taps.my);
  copy16(moments.d + quad, taps.d);
  copy16(moments.c + quad, taps.c);
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < 4; ++i)
    if (column + i < width) sum += visit(mix<false>(window, RowTaps<R>{taps, i}), first + row, column + i);
  return sum;
}

__device__ __forceinline__ double warp_sum(double value) {
#pragma unroll
  for (int step = 16; step; step /= 2) value += __shfl_down_sync(0xffffffffu, value, step);
  return value;
}

// The sums of all threads of a block, at its first one.
__device__ __forceinline__ Sums block_sum(Sums sums, Sums* warps) {
  sums = {warp_sum(sums.ssim), warp_sum(sums.squares)};
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sums;
  __syncthreads();
#pragma unroll
  for (int warp = 1; threadIdx.x == 0 && warp < kThreads / 32; ++warp) {
    sums.ssim += warps[warp].ssim;
    sums.squares += warps[warp].squares;
  }
  return sums;
}

template <class Call>
__device__ __forceinline__ Place place_of(const Call& call, int64_t strips, int64_t bands) {
  const int64_t in_plane = strips * bands, i = blockIdx.x % in_plane;
  const int top = int(i / strips) * kBand;
  return {blockIdx.x / in_plane, top, int(i % strips) * kOutputs, min(top + kBand, int(call.map_height()))};
}

// Visits all windows of a place; returns the sum of what that gives, and the squared differences if they are wanted.
template <int R, bool kAligned, bool kSquares, class Call, class Visit>
__device__ __forceinline__ Sums march(const Call& call, const Window<float, R>& window, const Place& place,
                                      Shared& shared, const Visit& visit) {
  const int thread = threadIdx.x;
  // Strips share 2 R columns of pixels with the next one, bands 2 R rows; each counts the squares of the others.
  const bool own_column = thread < (place.left + kOutputs >= call.map_width() ? kInputs : kOutputs);
  const int own_bottom = place.bottom == int(call.map_height()) ? int(call.height) : place.bottom;

  // Enough rows ahead that groups of windows begin with the band.
  constexpr int kAhead = (2 * R + kRows - 1) / kRows * kRows;
  Column<R> column{};
  Sums sums{};
  int row = place.top + 2 * R - kAhead;
  Quad next_x = load_mine<kAligned>(call, call.x, place, row), next_y = load_mine<kAligned>(call, call.y, place, row);
  // What the last turn read of the pixels it read before its second barrier, and of the moments before the first of this one.
  for (; row < place.bottom + 2 * R; row += kRows) {
    if (thread < kRows * kQuads) {
      reinterpret_cast<float4*>(shared.x)[thread] = make_float4(next_x.v[0], next_x.v[1], next_x.v[2], next_x.v[3]);
      reinterpret_cast<float4*>(shared.y)[thread] = make_float4(next_y.v[0], next_y.v[1], next_y.v[2], next_y.v[3]);
    }
    __syncthreads();
    next_x = load_mine<kAligned>(call, call.x, place, row + kRows);
    next_y = load_mine<kAligned>(call, call.y, place, row + kRows);
    const int first = row - 2 * R;
    if (thread < kInputs) {
      column.push(shared.x, shared.y);
#pragma unroll
      for (int i = 0; kSquares && i < kRows; ++i) {
        const double e = double(column.x[2 * R + i]) - double(column.y[2 * R + i]);
        if (own_column && row + i >= place.top && row + i < own_bottom) sums.squares += e * e;
      }
      if (first >= place.top) {
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
          const Moments<float> m = mix<true>(window, ColumnTaps<R>{column, i});
          shared.moments[i].mx[thread] = m.mx;
          shared.moments[i].my[thread] = m.my;
          shared.moments[i].d[thread] = m.d;
          shared.moments[i].c[thread] = m.c;
        }
      }
    }
    __syncthreads();
    if (first >= place.top) sums.ssim += visit_windows<R>(call, window, place, shared, first, visit);
  }
  return sums;
}

// Blocks that a plane needs.
template <class Call>
int64_t strips_of(const Call& call) {
  return (call.map_width() + kOutputs - 1) / kOutputs;
}

template <class Call>
int64_t bands_of(const Call& call) {
  return (call.map_height() + kBand - 1) / kBand;
}

// Blocks of a call. Places within a plane are counted in 32 bits.
template <class Call>
int64_t blocks_of(const Call& call, int64_t planes, const char* op) {
  constexpr int64_t kMost = (int64_t(1) << 31) - 1, kLongest = int64_t(1) << 24;
  STD_TORCH_CHECK(call.height <= kLongest && call.width <= kLongest, op, ": x must have sides of at most 2^24 pixels.");
  const int64_t blocks = planes * strips_of(call) * bands_of(call);
  STD_TORCH_CHECK(blocks <= kMost, op, ": x must need fewer than 2^31 blocks, found ", blocks, ".");
  return blocks;
}

// Whether every address a thread reads is aligned to its four pixels.
template <class Call>
bool all_aligned(const Call& call) {
  const int bytes = call.type == Pixel::float32 ? 16 : call.type == Pixel::uint8 ? 4 : 8;
  return call.width % 4 == 0 && aligned(call.x, bytes) && aligned(call.y, bytes);
}

}  // namespace
}  // namespace sf
