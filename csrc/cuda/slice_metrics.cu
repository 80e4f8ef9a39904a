// slice_metrics on CUDA: blocks march down strips of the planes, and one warp per sample adds their sums.
#include "cuda/strips.cuh"

namespace sf {
namespace {

template <int R, bool kAligned>
__global__ void __launch_bounds__(kThreads, 3)
    metrics_kernel(const __grid_constant__ MetricsCall call, const __grid_constant__ Window<float, R> window,
                   const __grid_constant__ Scales<float> scale, int64_t strips, int64_t bands,
                   Sums* __restrict__ partial) {
  __shared__ Shared shared;
  const Place place = place_of(call, strips, bands);
  const int64_t plane = place.plane * call.map_height();
  const auto visit = [&](const Moments<float>& moments, int row, int column) {
    const float value = ssim(moments, scale);
    if (call.map) static_cast<float*>(call.map)[(plane + row) * call.map_width() + column] = value;
    return value;
  };
  const Sums sums = block_sum(march<R, kAligned, true>(call, window, place, shared, visit), shared.warps);
  if (threadIdx.x == 0) partial[blockIdx.x] = sums;
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
void launch(const MetricsCall& call, Sums* partial, cudaStream_t stream) {
  const int64_t strips = strips_of(call), bands = bands_of(call);
  const uint32_t grid = uint32_t(call.planes() * strips * bands);
  const auto kernel = all_aligned(call) ? metrics_kernel<R, true> : metrics_kernel<R, false>;
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
  const int64_t blocks = blocks_of(call, call.planes(), "slice_metrics");
  const Tensor scratch = torch::stable::new_empty(x, {blocks, 2}, ScalarType::Double);
  Sums* partial = reinterpret_cast<Sums*>(scratch.mutable_data_ptr<double>());
  const cudaStream_t stream = current_stream(x);
  if (call.radius == kGaussianRadius) {
    launch<kGaussianRadius>(call, partial, stream);
  } else {
    launch<kUniformRadius>(call, partial, stream);
  }
  scores_kernel<<<uint32_t(call.samples), 32, 0, stream>>>(call, blocks / call.samples, partial);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return scores;
}

}  // namespace
}  // namespace sf

STABLE_TORCH_LIBRARY_IMPL(spectac_fast, CUDA, library) { library.impl("slice_metrics", TORCH_BOX(&sf::slice_metrics)); }
