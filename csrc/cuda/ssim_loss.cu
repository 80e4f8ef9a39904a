// ssim_loss on CUDA: blocks march down strips as for slice_metrics and leave four maps of slopes; a second kernel spreads
// those over the pixels, tile by tile, and writes the gradients.
#include <tuple>

#include "cuda/strips.cuh"
#include "ssim_loss.h"

namespace sf {
namespace {

constexpr int kRadius = kGaussianRadius, kReach = 2 * kRadius;
constexpr int kTile = 32;                   // pixels on a side
constexpr int kTileRows = 8;                // of threads
constexpr int kEach = kTile / kTileRows;    // neighbouring sums that a thread makes of one row or column
constexpr int kWide = kTile + kReach;       // windows that hold a pixel of the tile, on a side
constexpr int kPitch = (kWide + 3) / 4 * 4; // so that quads of a row are aligned
constexpr int kLoads = (kWide * kWide + kTile * kTileRows - 1) / (kTile * kTileRows);  // of a thread, for every map
static_assert(kEach == 4 && kEach + kReach <= 16, "a row is read and written by quads");

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
  const auto visit = [&](const Moments<float>& moments, int row, int column) {
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

// Of one map: the slopes of all windows that hold a pixel of the tile, and their sums along the rows.
struct alignas(16) SpreadRows {
  float slopes[kWide][kPitch], along[kWide][kTile];
};

// Sums over the windows of neighbouring pixels, from the slopes of all windows that hold one of them.
__device__ __forceinline__ void spread(const Window<float, kRadius>& w, const float (&slopes)[16], float (&sums)[kEach]) {
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const float* middle = slopes + i + kRadius;
    sums[i] = w.k[0] * middle[0];
#pragma unroll
    for (int r = 1; r <= kRadius; ++r) sums[i] += w.k[r] * (middle[-r] + middle[r]);
  }
}

__global__ void __launch_bounds__(kTile * kTileRows)
    spread_kernel(const __grid_constant__ LossCall call, const __grid_constant__ Window<float, kRadius> window,
                  float share, int64_t across, int64_t down, const float* __restrict__ maps) {
  __shared__ SpreadRows rows;
  const int x = threadIdx.x % kTile, y = threadIdx.x / kTile;
  const int64_t plane = blockIdx.x / (across * down), tile = blockIdx.x % (across * down);
  const int top = int(tile / across) * kTile, left = int(tile % across) * kTile;
  const int height = int(call.map_height()), width = int(call.map_width());

  // Where this thread's windows come from and go to, the same in all four maps; the nearest one stands for one that is not
  // there, so that all loads can leave before the first is waited for.
  int from[kLoads], to[kLoads];
  bool inside[kLoads];
#pragma unroll
  for (int k = 0; k < kLoads; ++k) {
    const int i = threadIdx.x + k * kTile * kTileRows, row = top - kReach + i / kWide, column = left - kReach + i % kWide;
    const int near_row = max(0, min(row, height - 1)), near_column = max(0, min(column, width - 1));
    inside[k] = row == near_row && column == near_column;
    from[k] = (near_row - top) * width + near_column;
    to[k] = i / kWide * kPitch + i % kWide;
  }

  float sums[4][kEach];
#pragma unroll
  for (int kind = 0; kind < 4; ++kind) {
    const float* map = maps + ((plane * 4 + kind) * height + top) * width;
    float loaded[kLoads];
#pragma unroll
    for (int k = 0; k < kLoads; ++k) loaded[k] = map[from[k]];
#pragma unroll
    for (int k = 0; k < kLoads; ++k)
      if (k + 1 < kLoads || to[k] < kWide * kPitch) rows.slopes[0][to[k]] = inside[k] ? loaded[k] : 0.0f;
    __syncthreads();
    float reached[16] = {};
    for (int i = threadIdx.x; i < kWide * kTile / kEach; i += kTile * kTileRows) {
      const int row = i / (kTile / kEach), column = i % (kTile / kEach) * kEach;
      float found[kEach];
      copy16(&rows.slopes[row][column], reached);
      spread(window, reached, found);
      *reinterpret_cast<float4*>(&rows.along[row][column]) = make_float4(found[0], found[1], found[2], found[3]);
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kEach + kReach; ++i) reached[i] = rows.along[kEach * y + i][x];
    spread(window, reached, sums[kind]);
  }

  const Origin<float> origin = origin_of(call, plane);
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int row = top + kEach * y + i, column = left + x;
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
  const int64_t strips = strips_of(call), bands = bands_of(call), blocks = blocks_of(call, call.planes, "ssim_loss");
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
