// slice_metrics on CUDA: a block marches down a strip of columns, four rows at a time. Pixels pass through shared memory
// once, so that they are loaded 16 bytes at a time; each thread keeps its column's last rows in registers and mixes down
// the column; the moments pass through shared memory to the threads that mix along the rows, four windows each.
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

struct Block {
  int64_t plane;
  int top, left;  // first row and column of its windows
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
template <bool kAligned>
__device__ __forceinline__ Quad load_mine(const MetricsCall& call, const void* image, const Block& block, int64_t row) {
  const int64_t column = block.left + threadIdx.x % kQuads * 4;
  row += threadIdx.x / kQuads;
  if (threadIdx.x >= kRows * kQuads || row < 0 || row >= call.height || column >= call.width) return Quad{};
  const int64_t left = call.width - column;
  return load_pixels<kAligned>(image, call.type, (block.plane * call.height + row) * call.width + column,
                               left < 4 ? int(left) : 4);
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

// SSIM of four windows, summed; those outside the plane or the band count nothing.
template <int R>
__device__ __forceinline__ float mix_windows(const MetricsCall& call, const Window<float, R>& window,
                                             const Scales<float>& scale, const Block& block, const Shared& shared,
                                             int64_t first) {
  const int row = threadIdx.x / 32, quad = threadIdx.x % 32 * 4;
  const int64_t window_row = first + row, column = block.left + quad;
  if (row >= kRows || window_row >= call.map_height() || column >= call.map_width()) return 0.0f;
  const MomentArray<kInputs>& moments = shared.moments[row];
  MomentArray<16> taps;
  copy16(moments.mx + quad, taps.mx);
  copy16(moments.my + quad, taps.my);
  copy16(moments.d + quad, taps.d);
  copy16(moments.c + quad, taps.c);
  float sum = 0.0f;
  float* map = static_cast<float*>(call.map) + (block.plane * call.map_height() + window_row) * call.map_width();
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float value = ssim(mix<false>(window, RowTaps<R>{taps, i}), scale);
    if (column + i >= call.map_width()) continue;
    sum += value;
    if (call.map) map[column + i] = value;
  }
  return sum;
}

__device__ __forceinline__ double warp_sum(double value) {
#pragma unroll
  for (int step = 16; step; step /= 2) value += __shfl_down_sync(0xffffffffu, value, step);
  return value;
}

template <int R, bool kAligned>
__global__ void __launch_bounds__(kThreads, 3)
    metrics_kernel(const __grid_constant__ MetricsCall call, const __grid_constant__ Window<float, R> window,
                   const __grid_constant__ Scales<float> scale, int strips, int bands, Sums* __restrict__ partial) {
  __shared__ Shared shared;
  const int thread = threadIdx.x;
  const int64_t in_plane = int64_t(strips) * bands, place = blockIdx.x % in_plane;
  const Block block{blockIdx.x / in_plane, int(place / strips) * kBand, int(place % strips) * kOutputs};
  const int64_t bottom = block.top + kBand < call.map_height() ? block.top + kBand : call.map_height();
  // Strips share 2 R columns of pixels with the next one, bands 2 R rows; each counts the squares of the others.
  const bool last_strip = block.left + kOutputs >= call.map_width(), last_band = bottom == call.map_height();
  const bool own_column = thread < (last_strip ? kInputs : kOutputs);
  const int64_t own_bottom = last_band ? call.height : bottom;

  // Enough rows ahead that groups of windows begin with the band.
  constexpr int kAhead = (2 * R + kRows - 1) / kRows * kRows;
  Column<R> column{};
  Sums sums{};
  int64_t row = block.top + 2 * R - kAhead;
  Quad next_x = load_mine<kAligned>(call, call.x, block, row), next_y = load_mine<kAligned>(call, call.y, block, row);
  for (; row < bottom + 2 * R; row += kRows) {
    __syncthreads();
    if (thread < kRows * kQuads) {
      reinterpret_cast<float4*>(shared.x)[thread] = make_float4(next_x.v[0], next_x.v[1], next_x.v[2], next_x.v[3]);
      reinterpret_cast<float4*>(shared.y)[thread] = make_float4(next_y.v[0], next_y.v[1], next_y.v[2], next_y.v[3]);
    }
    __syncthreads();
    next_x = load_mine<kAligned>(call, call.x, block, row + kRows);
    next_y = load_mine<kAligned>(call, call.y, block, row + kRows);
    const int64_t first = row - 2 * R;
    if (thread < kInputs) {
      column.push(shared.x, shared.y);
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const double e = double(column.x[2 * R + i]) - double(column.y[2 * R + i]);
        if (own_column && row + i >= block.top && row + i < own_bottom) sums.squares += e * e;
      }
      if (first >= block.top) {
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
    if (first >= block.top) sums.ssim += mix_windows<R>(call, window, scale, block, shared, first);
  }

  sums = {warp_sum(sums.ssim), warp_sum(sums.squares)};
  if (thread % 32 == 0) shared.warps[thread / 32] = sums;
  __syncthreads();
  if (thread == 0) {
#pragma unroll
    for (int warp = 1; warp < kThreads / 32; ++warp) {
      sums.ssim += shared.warps[warp].ssim;
      sums.squares += shared.warps[warp].squares;
    }
    partial[blockIdx.x] = sums;
  }
}

// One warp per sample adds the blocks' sums, always in the same order.
__global__ void __launch_bounds__(32)
    scores_kernel(const __grid_constant__ MetricsCall call, int64_t blocks, const Sums* __restrict__ partial) {
  const Sums* mine = partial + blockIdx.x * blocks;
  Sums sums{};
  for (int64_t i = threadIdx.x; i < blocks; i += 32) {
    sums.ssim += mine[i].ssim;
    sums.squares += mine[i].squares;
  }
  sums = {warp_sum(sums.ssim), warp_sum(sums.squares)};
  if (threadIdx.x == 0) write_scores(call, blockIdx.x, sums.ssim, sums.squares);
}

template <int R>
void launch(const MetricsCall& call, int strips, int bands, Sums* partial, cudaStream_t stream) {
  const int bytes = call.type == Pixel::float32 ? 16 : call.type == Pixel::uint8 ? 4 : 8;
  const bool all_aligned = call.width % 4 == 0 && aligned(call.x, bytes) && aligned(call.y, bytes);
  const uint32_t grid = uint32_t(call.planes() * strips * bands);
  const auto kernel = all_aligned ? metrics_kernel<R, true> : metrics_kernel<R, false>;
  kernel<<<grid, kThreads, 0, stream>>>(call, window<float, R>(), scales<float>(call), strips, bands, partial);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

Tensor slice_metrics(const Tensor& x, const Tensor& y, double range, int64_t taps, bool sample_covariance,
                     const MaybeTensor& map) {
  using torch::headeronly::ScalarType;
  const torch::stable::accelerator::DeviceGuard guard(x.get_device_index());
  const Tensor scores = torch::stable::new_empty(x, {x.size(0), 3}, ScalarType::Double);
  const MetricsCall call = unpack_metrics(x, y, range, taps, sample_covariance, map, scores);
  STD_TORCH_CHECK(call.type != Pixel::float64, "slice_metrics: x must not be float64 on CUDA.");
  if (call.samples == 0) return scores;
  const int64_t strips = (call.map_width() + kOutputs - 1) / kOutputs, bands = (call.map_height() + kBand - 1) / kBand;
  const int64_t blocks = call.planes() * strips * bands;
  STD_TORCH_CHECK(blocks < (int64_t(1) << 31), "slice_metrics: x must need fewer than 2^31 blocks, found ", blocks, ".");
  const Tensor scratch = torch::stable::new_empty(x, {blocks, 2}, ScalarType::Double);
  Sums* partial = reinterpret_cast<Sums*>(scratch.mutable_data_ptr<double>());
  const cudaStream_t stream = current_stream(x);
  if (call.radius == kGaussianRadius) {
    launch<kGaussianRadius>(call, int(strips), int(bands), partial, stream);
  } else {
    launch<kUniformRadius>(call, int(strips), int(bands), partial, stream);
  }
  scores_kernel<<<uint32_t(call.samples), 32, 0, stream>>>(call, blocks / call.samples, partial);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return scores;
}

}  // namespace
}  // namespace sf

STABLE_TORCH_LIBRARY_IMPL(spectac_fast, CUDA, library) { library.impl("slice_metrics", TORCH_BOX(&sf::slice_metrics)); }
