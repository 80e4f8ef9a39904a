// sampler_step on CUDA: one thread per Philox counter, that is per four consecutive elements of a slice.
// The row and the seeds are read from device memory, so a captured graph follows whatever is written there.
#include <cuda_runtime.h>

#include <algorithm>

#include "cuda/normals.cuh"
#include "sampler_step.h"

namespace sf {
namespace {

constexpr int kThreads = 128;
constexpr int64_t kMaxSlices = 65535;  // of a grid's second dimension

__device__ __forceinline__ Row load_row(const float* __restrict__ p) {
  return {__ldg(p),     __ldg(p + 1), __ldg(p + 2), __ldg(p + 3),  __ldg(p + 4),  __ldg(p + 5),  __ldg(p + 6),
          __ldg(p + 7), __ldg(p + 8), __ldg(p + 9), __ldg(p + 10), __ldg(p + 11), __ldg(p + 12), __ldg(p + 13)};
}

template <bool kVector>
__global__ void __launch_bounds__(kThreads) step_kernel(const __grid_constant__ StepCall call) {
  const int64_t first = 4 * (int64_t(blockIdx.x) * kThreads + threadIdx.x);
  if (first >= call.elements) return;
  const int64_t left = call.elements - first;
  const int count = left < 4 ? int(left) : 4;
  const Row row = without(load_row(call.row), call.y, call.h1, call.h2, call.seeds || call.noise);
  const Quad none{};

  for (int64_t slice = blockIdx.y; slice < call.slices; slice += gridDim.y) {
    const int64_t at = slice * call.elements + first;
    const Quad x = load<kVector>(call.x, at, count);
    const Quad f = load<kVector>(call.f, call.f_type, at, count);
    const Quad y = call.y ? load<kVector>(call.y, at, count) : none;
    const Quad h1 = call.h1 ? load<kVector>(call.h1, at, count) : none;
    const Quad h2 = call.h2 ? load<kVector>(call.h2, at, count) : none;
    Quad noise = call.noise ? load<kVector>(call.noise, at, count) : none;
    if (call.seeds && row.wn != 0.0f)
      noise = normals(__ldg(call.seeds + slice), uint32_t(first / 4), call.step, call.sample, kSampling);
    Quad xa = call.anchor ? load<kVector>(call.anchor, at, count) : x;

    Quad d, next;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const Element e{x.v[k], f.v[k], y.v[k], h1.v[k], h2.v[k], noise.v[k]};
      d.v[k] = predict(row, e, call.lo, call.hi);
      if (call.anchor) xa.v[k] = correct(row, e, d.v[k], xa.v[k]);
      next.v[k] = advance(row, e, d.v[k], xa.v[k]);
    }
    if (call.anchor) store<kVector>(call.anchor, at, count, xa);
    if (call.x0) store<kVector>(call.x0, at, count, d);
    store<kVector>(call.x_next, at, count, next);
    if (call.net_input) store<kVector>(call.net_input, call.net_type, slice * call.net_stride + first, count, next);
  }
}

// Whether every address a thread touches is aligned to its four elements.
bool all_aligned(const StepCall& call) {
  for (const void* p : {static_cast<const void*>(call.x), static_cast<const void*>(call.y),
                        static_cast<const void*>(call.h1), static_cast<const void*>(call.h2),
                        static_cast<const void*>(call.noise), static_cast<const void*>(call.anchor),
                        static_cast<const void*>(call.x_next), static_cast<const void*>(call.x0)})
    if (!aligned(p, 16)) return false;
  return call.elements % 4 == 0 && call.net_stride % 4 == 0 && aligned(call.f, quad_bytes(call.f_type)) &&
         aligned(call.net_input, quad_bytes(call.net_type));
}

void sampler_step(const Tensor& x, const Tensor& f, const MaybeTensor& y, const Tensor& row, const MaybeTensor& h1,
                  const MaybeTensor& h2, const MaybeTensor& seeds, const MaybeTensor& noise, int64_t step,
                  int64_t sample, double lo, double hi, const MaybeTensor& anchor, const Tensor& x_next,
                  const MaybeTensor& x0, const MaybeTensor& net_input) {
  const StepCall call =
      unpack_step(x, f, y, row, h1, h2, seeds, noise, step, sample, lo, hi, anchor, x_next, x0, net_input);
  if (call.slices == 0 || call.elements == 0) return;
  const torch::stable::accelerator::DeviceGuard guard(x.get_device_index());
  const int64_t blocks = (call.elements + 4 * kThreads - 1) / (4 * kThreads);
  const dim3 grid(uint32_t(blocks), uint32_t(std::min(call.slices, kMaxSlices)));
  const cudaStream_t stream = current_stream(x);
  if (all_aligned(call)) {
    step_kernel<true><<<grid, kThreads, 0, stream>>>(call);
  } else {
    step_kernel<false><<<grid, kThreads, 0, stream>>>(call);
  }
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

}  // namespace
}  // namespace sf

STABLE_TORCH_LIBRARY_IMPL(spectac_fast, CUDA, library) { library.impl("sampler_step", TORCH_BOX(&sf::sampler_step)); }
