// ssim_loss on CUDA: blocks march down strips as for slice_metrics and leave four maps of slopes; a second kernel spreads
// those over the pixels, tile by tile, and writes the gradients.
#include <tuple>

#include "cuda/strips.cuh"
#include "ssim_loss.h"

namespace sf {
namespace {

constexpr int kRadius = kGaussianRadius, kReach = 2 * kRadius;
constexpr int kTile = 32;                   // pixels on a side
constexpr int kTileRows = 8;                // of threads, each of which has kTile / kTileRows pixels
constexpr int kWide = kTile + kReach;       // windows that hold a pixel of the tile, on a side
constexpr int kEach = kTile / kTileRows;

__device__ __forceinline__ Origin<float> origin_of(const LossCall& call, int64_t plane) {
  const int64_t first = plane * call.height * call.width;
  return {static_cast<const float*>(call.x)[first], static_cast<const float*>(call.y)[first]};
}

template <bool kAligned>
__global__ void __launch_bounds__(kThreads, 3)
    slopes_kernel(const __grid_constant__ LossCall call, const __grid_constant__ Window<float, kRadius> window,
                  const __grid_constant__ Scales<float> scale, int64_t strips, int64_t bands, float* __restrict__ maps,
                  Sums* __restrict__ partial) {
  __shared__ Shared shared;
  const Place place = place_of(call, strips, bands);
  const Origin<float> origin = origin_of(call, place.plane);
  const int64_t size = call.map_height() * call.map_width();
  const auto visit = [&](const Moments<float>& moments, int64_t row, int64_t column) {
    Slopes<float> slopes;
    const float value = ssim_with_slopes(moments, scale, origin, slopes);
    float* at = maps + place.plane * 4 * size + row * call.map_width() + column;
    at[0] = slopes.from_x;
    at[size] = slopes.from_y;
    at[2 * size] = slopes.p;
    at[3 * size] = slopes.q;
    return value;
  };
  const Sums sums = block_sum(march<kRadius, kAligned, false>(call, window, place, shared, visit), shared.warps);
  if (threadIdx.x == 0) partial[blockIdx.x] = sums;
}

struct SpreadTaps {
  const float* middle;
  int step;

  SF_HD float operator()(int tap) const { return middle[tap * step]; }
};

__device__ __forceinline__ float weighted(const Window<float, kRadius>& w, const SpreadTaps& at) {
  float sum = w.k[0] * at(0);
#pragma unroll
  for (int i = 1; i <= kRadius; ++i) sum += w.k[i] * (at(-i) + at(i));
  return sum;
}

__global__ void __launch_bounds__(kTile * kTileRows)
    spread_kernel(const __grid_constant__ LossCall call, const __grid_constant__ Window<float, kRadius> window,
                  float share, int64_t across, int64_t down, const float* __restrict__ maps) {
  __shared__ float slopes[kWide][kWide + 1], along[kWide][kTile];
  const int x = threadIdx.x % kTile, y = threadIdx.x / kTile;
  const int64_t plane = blockIdx.x / (across * down), tile = blockIdx.x % (across * down);
  const int64_t top = tile / across * kTile, left = tile % across * kTile;
  const int64_t size = call.map_height() * call.map_width();

  float sums[4][kEach];
#pragma unroll
  for (int kind = 0; kind < 4; ++kind) {
    const float* map = maps + (plane * 4 + kind) * size;
    for (int i = threadIdx.x; i < kWide * kWide; i += kTile * kTileRows) {
      const int64_t row = top - kReach + i / kWide, column = left - kReach + i % kWide;
      const bool inside = row >= 0 && row < call.map_height() && column >= 0 && column < call.map_width();
      slopes[i / kWide][i % kWide] = inside ? map[row * call.map_width() + column] : 0.0f;
    }
    __syncthreads();
    for (int row = y; row < kWide; row += kTileRows)
      along[row][x] = weighted(window, {&slopes[row][x + kRadius], 1});
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kEach; ++i) sums[kind][i] = weighted(window, {&along[y + i * kTileRows + kRadius][x], kTile});
  }

  const Origin<float> origin = origin_of(call, plane);
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int64_t row = top + y + i * kTileRows, column = left + x;
    if (row >= call.height || column >= call.width) continue;
    const int64_t at = (plane * call.height + row) * call.width + column;
    const float a = static_cast<const float*>(call.x)[at], b = static_cast<const float*>(call.y)[at];
    const float pull = ((a - b) - (origin.x - origin.y)) * sums[2][i];
    if (call.grad_x)
      static_cast<float*>(call.grad_x)[at] = share * (sums[0][i] - pull + (a - origin.x) * sums[3][i]);
    if (call.grad_y)
      static_cast<float*>(call.grad_y)[at] = share * (sums[1][i] + pull + (b - origin.y) * sums[3][i]);
  }
}

// One block adds the sums of all, always in the same order.
__global__ void __launch_bounds__(kThreads)
    loss_kernel(const __grid_constant__ LossCall call, int64_t blocks, const Sums* __restrict__ partial) {
  __shared__ Sums warps[kThreads / 32];
  Sums sums{};
  for (int64_t i = threadIdx.x; i < blocks; i += kThreads) sums.ssim += partial[i].ssim;
  sums = block_sum(sums, warps);
  if (threadIdx.x == 0) write_loss(call, sums.ssim);
}

std::tuple<Tensor, Tensor, Tensor> ssim_loss(const Tensor& x, const Tensor& y, double range, bool need_x, bool need_y) {
  using torch::headeronly::ScalarType;
  const torch::stable::accelerator::DeviceGuard guard(x.get_device_index());
  const LossResult result = empty_result(x, need_x, need_y);
  const LossCall call = unpack_loss(x, y, range, need_x, need_y, result);
  STD_TORCH_CHECK(call.type == Pixel::float32, "ssim_loss: x must be float32 on CUDA.");
  const int64_t strips = strips_of(call), bands = bands_of(call), blocks = call.planes * strips * bands;
  const int64_t across = (call.width + kTile - 1) / kTile, down = (call.height + kTile - 1) / kTile;
  const int64_t tiles = call.planes * across * down;
  STD_TORCH_CHECK(tiles < (int64_t(1) << 31), "ssim_loss: x must need fewer than 2^31 tiles, found ", tiles, ".");
  const Tensor scratch = torch::stable::new_empty(x, {blocks, 2}, ScalarType::Double);
  const Tensor slopes = torch::stable::new_empty(x, {call.planes, 4, call.map_height(), call.map_width()});
  Sums* partial = reinterpret_cast<Sums*>(scratch.mutable_data_ptr<double>());
  float* maps = slopes.mutable_data_ptr<float>();
  const cudaStream_t stream = current_stream(x);
  const Window<float, kRadius> weights = window<float, kRadius>();
  const Scales<float> scale{float(1.0 / range), float(1.0 / (range * range))};
  if (blocks > 0) {
    const auto kernel = all_aligned(call) ? slopes_kernel<true> : slopes_kernel<false>;
    kernel<<<uint32_t(blocks), kThreads, 0, stream>>>(call, weights, scale, strips, bands, maps, partial);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
  if (blocks > 0 && (need_x || need_y)) {
    const float share = float(-1.0 / call.windows());
    spread_kernel<<<uint32_t(tiles), kTile * kTileRows, 0, stream>>>(call, weights, share, across, down, maps);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
  loss_kernel<<<1, kThreads, 0, stream>>>(call, blocks, partial);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return {result.loss, result.grad_x, result.grad_y};
}

}  // namespace
}  // namespace sf

STABLE_TORCH_LIBRARY_IMPL(spectac_fast, CUDA, library) { library.impl("ssim_loss", TORCH_BOX(&sf::ssim_loss)); }
