// bridge_add_noise on CUDA: one thread per Philox counter, that is per four consecutive elements of a slice.
// Timesteps, schedule and seeds are read from device memory, so a captured graph follows whatever is written there.
#include <cuda_runtime.h>

#include <algorithm>

#include "bridge_add_noise.h"
#include "cuda/normals.cuh"

namespace sf {
namespace {

constexpr int kThreads = 128;
constexpr int64_t kMaxSlices = 65535;  // of a grid's second dimension

template <bool kVector, Objective kObjective>
__global__ void __launch_bounds__(kThreads) noise_kernel(const __grid_constant__ NoiseCall call) {
  const int64_t first = 4 * (int64_t(blockIdx.x) * kThreads + threadIdx.x);
  if (first >= call.elements) return;
  const int64_t left = call.elements - first;
  const int count = left < 4 ? int(left) : 4;

  for (int64_t slice = blockIdx.y; slice < call.slices; slice += gridDim.y) {
    const int64_t at = slice * call.elements + first;
    const Quad x0 = load<kVector>(call.x0, at, count);
    const Quad y = load<kVector>(call.y, at, count);
    const Level level = call.level(slice);
    const Quad noise =
        call.seeds ? normals(__ldg(call.seeds + slice), uint32_t(first / 4), call.step, call.sample, kTraining)
                   : load<kVector>(call.noise, at, count);
    Quad x_t, target;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const Noised v = add_noise<kObjective>(level, x0.v[k], y.v[k], noise.v[k]);
      x_t.v[k] = v.x_t;
      target.v[k] = v.target;
    }
    store<kVector>(call.x_t, call.x_t_type, at, count, x_t);
    if (call.target) store<kVector>(call.target, at, count, target);
  }
}

// Whether every address a thread touches is aligned to its four elements.
bool all_aligned(const NoiseCall& call) {
  return call.elements % 4 == 0 && aligned(call.x0, 16) && aligned(call.y, 16) && aligned(call.noise, 16) &&
         aligned(call.target, 16) && aligned(call.x_t, quad_bytes(call.x_t_type));
}

template <Objective kObjective>
void launch(const NoiseCall& call, cudaStream_t stream) {
  const int64_t blocks = (call.elements + 4 * kThreads - 1) / (4 * kThreads);
  const dim3 grid(uint32_t(blocks), uint32_t(std::min(call.slices, kMaxSlices)));
  if (all_aligned(call)) {
    noise_kernel<true, kObjective><<<grid, kThreads, 0, stream>>>(call);
  } else {
    noise_kernel<false, kObjective><<<grid, kThreads, 0, stream>>>(call);
  }
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

void bridge_add_noise(const Tensor& x0, const Tensor& y, const Tensor& t, const Tensor& schedule,
                      const MaybeTensor& seeds, const MaybeTensor& noise, int64_t step, int64_t sample,
                      int64_t objective, const Tensor& x_t, const MaybeTensor& target) {
  const NoiseCall call = unpack_noise(x0, y, t, schedule, seeds, noise, step, sample, objective, x_t, target);
  if (call.slices == 0 || call.elements == 0) return;
  const torch::stable::accelerator::DeviceGuard guard(x0.get_device_index());
  const cudaStream_t stream = current_stream(x0);
  switch (call.objective) {
    case Objective::grad: return launch<Objective::grad>(call, stream);
    case Objective::noise: return launch<Objective::noise>(call, stream);
    case Objective::ysubx: return launch<Objective::ysubx>(call, stream);
  }
}

}  // namespace
}  // namespace sf

STABLE_TORCH_LIBRARY_IMPL(spectac_fast, CUDA, library) {
  library.impl("bridge_add_noise", TORCH_BOX(&sf::bridge_add_noise));
}
