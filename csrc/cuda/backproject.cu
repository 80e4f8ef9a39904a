// backproject and attenuation_gradient on CUDA. The planes of some views are made first: blurred along, across, and
// attenuated ray by ray. Then a thread per voxel of the volume gathers its shares of them in a fixed order, so that the sum
// is the same every time.
#include <cuda_runtime.h>

#include "backproject.h"
#include "cuda/views.cuh"

namespace sf {
namespace {

__global__ void __launch_bounds__(kThreads)
    along_kernel(const __grid_constant__ BackprojectCall call, const __grid_constant__ Part part, float* planes) {
  const int64_t n = call.n(), nz = call.nz, i = thread_number();
  if (i >= part.count * n * n * nz) return;
  const int64_t z = i % nz, u = i / nz % n, depth = i / nz / n % n, view = part.first + i / nz / n / n;
  const float* bin = call.views + ((part.member * call.stencils.views + view) * n + u) * nz + z;
  planes[i] = call.taps.taps ? across(call.taps.of(view, depth), call.taps.reach, bin, 1, z, nz) : *bin;
}

// Blurs across and attenuates. Six blocks on a multiprocessor leave 80 registers a thread.
__global__ void __launch_bounds__(kThreads, 6)
    rays_kernel(const __grid_constant__ BackprojectCall call, const __grid_constant__ Part part, const float* planes,
                float* out) {
  const int64_t n = call.n(), nz = call.nz, i = thread_number();
  if (i >= part.count * n * nz) return;
  const int64_t z = i % nz, u = i / nz % n, v = i / nz / n, view = part.first + v;
  Ray ray{call.attenuation, call.stencils, part.member, nz};
  for (int64_t depth = n - 1; depth >= 0; --depth) {
    const int64_t place = ((v * n + depth) * n + u) * nz + z;
    const float value = call.taps.taps ? across(call.taps.of(view, depth), call.taps.reach, planes + place, nz, u, n)
                                       : planes[place];
    out[place] = ray.survival(call.stencils.at(view, depth, u), z) * value;
  }
}

// What is back-projected becomes minus the sum of its product with the activity over all that lies behind it, half of its
// own included.
__global__ void __launch_bounds__(kThreads)
    behind_kernel(const __grid_constant__ GradientCall call, const __grid_constant__ Part part, float* planes) {
  const Stencils& stencils = call.back.stencils;
  const int64_t n = stencils.n, nz = call.back.nz, i = thread_number();
  if (i >= part.count * n * nz) return;
  const int64_t z = i % nz, u = i / nz % n, v = i / nz / n;
  const float* volume = call.activity + part.member * n * n * nz;
  float behind = 0.0f;
  for (int64_t depth = 0; depth < n; ++depth) {
    float& value = planes[((v * n + depth) * n + u) * nz + z];
    const float own =
        call.back.attenuation.step * rotated(stencils, volume, nz, stencils.at(part.first + v, depth, u), z) * value;
    value = -fma(0.5f, own, behind);
    behind += own;
  }
}

// What a view's voxel (depth, u) has of the volume's voxel (y, x): 0 unless it is one of the four neighbours.
__device__ __forceinline__ float share_of(const Stencils& s, int64_t at, int64_t y, int64_t x) {
  const int64_t down = y - s.index[at] / s.n, right = x - s.index[at] % s.n;
  return down >= 0 && down <= 1 && right >= 0 && right <= 1 ? s.weight[4 * at + 2 * down + right] : 0.0f;
}

// With 64 registers the compiler spills.
__global__ void __launch_bounds__(kThreads, 6)
    gather_kernel(const __grid_constant__ BackprojectCall call, const __grid_constant__ Part part, const float* planes) {
  const Stencils& s = call.stencils;
  const int64_t n = s.n, nz = call.nz, i = thread_number();
  if (i >= n * n * nz) return;
  const int64_t z = i % nz, x = i / nz % n, y = i / nz / n;
  float& out = call.out[part.member * n * n * nz + i];
  float sum = part.first ? out : 0.0f;
  for (int64_t v = 0; v < part.count; ++v) {
    const Corner corner = corner_of(call.turn + 2 * (part.first + v), n, y, x);
    for (int64_t depth = max(corner.depth, int64_t(0)); depth < min(corner.depth + kNear, n); ++depth)
      for (int64_t u = max(corner.lateral, int64_t(0)); u < min(corner.lateral + kNear, n); ++u) {
        const float share = share_of(s, s.at(part.first + v, depth, u), y, x);
        if (share != 0.0f) sum = fma(share, planes[((v * n + depth) * n + u) * nz + z], sum);
      }
  }
  out = sum;
}

// change(part, planes) is what is done to the planes before they are gathered.
template <class Change>
void run(const BackprojectCall& call, const Tensor& like, cudaStream_t stream, const Change& change) {
  const int64_t view = call.n() * call.nz, volume = call.volume();
  by_parts(call.batch, call.stencils.views, volume, [&](const Part& part) {
    const Tensor scratch = torch::stable::new_empty(like, {2, part.count * volume});
    float *along = scratch.mutable_data_ptr<float>(), *planes = along + part.count * volume;
    along_kernel<<<blocks_of(part.count * volume), kThreads, 0, stream>>>(call, part, along);
    rays_kernel<<<blocks_of(part.count * view), kThreads, 0, stream>>>(call, part, along, planes);
    change(part, planes);
    gather_kernel<<<blocks_of(volume), kThreads, 0, stream>>>(call, part, planes);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  });
  if (call.stencils.views == 0) STD_CUDA_CHECK(cudaMemsetAsync(call.out, 0, sizeof(float) * call.batch * volume, stream));
}

Tensor backproject(const Tensor& views, const Tensor& index, const Tensor& weight, const Tensor& span, const Tensor& turn,
                   const MaybeTensor& mu, const MaybeTensor& survival, const MaybeTensor& taps, double step) {
  const torch::stable::accelerator::DeviceGuard guard(views.get_device_index());
  const Tensor volume = empty_volume(views);
  const BackprojectCall call =
      unpack_backproject("backproject", views, index, weight, span, turn, mu, survival, taps, step, volume);
  if (volume.numel() > 0) run(call, views, current_stream(views), [](const Part&, float*) {});
  return volume;
}

Tensor attenuation_gradient(const Tensor& activity, const Tensor& views, const Tensor& index, const Tensor& weight,
                            const Tensor& span, const Tensor& turn, const MaybeTensor& mu, const MaybeTensor& survival,
                            const MaybeTensor& taps, double step) {
  const torch::stable::accelerator::DeviceGuard guard(views.get_device_index());
  const cudaStream_t stream = current_stream(views);
  const Tensor gradient = empty_volume(views);
  const GradientCall call =
      unpack_gradient(activity, views, index, weight, span, turn, mu, survival, taps, step, gradient);
  if (gradient.numel() > 0)
    run(call.back, views, stream, [&](const Part& part, float* planes) {
      const int64_t rays = part.count * call.back.n() * call.back.nz;
      behind_kernel<<<blocks_of(rays), kThreads, 0, stream>>>(call, part, planes);
    });
  return gradient;
}

}  // namespace
}  // namespace sf

STABLE_TORCH_LIBRARY_IMPL(spectac_fast, CUDA, library) {
  library.impl("backproject", TORCH_BOX(&sf::backproject));
  library.impl("attenuation_gradient", TORCH_BOX(&sf::attenuation_gradient));
}
