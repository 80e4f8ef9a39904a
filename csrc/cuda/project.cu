// project and photon_survival on CUDA. A thread follows a ray from the detector's side to the other; where a collimator
// blurs, it leaves what it meets in planes, which a second kernel blurs across and a third along, and adds up.
#include <cuda_runtime.h>

#include "cuda/views.cuh"

namespace sf {
namespace {

// planes: [views of the part, n, n, nz], or null: then the sum over depth is the view.
__global__ void __launch_bounds__(kThreads)
    rays_kernel(const __grid_constant__ ProjectCall call, const __grid_constant__ Part part, float* planes) {
  const int64_t n = call.n(), nz = call.nz, i = thread_number();
  if (i >= part.count * n * nz) return;
  const int64_t z = i % nz, u = i / nz % n, v = i / nz / n, view = part.first + v;
  const float* volume = call.activity + part.member * n * n * nz;
  Ray ray{call.attenuation, call.stencils, part.member, nz};
  float sum = 0.0f;
  for (int64_t depth = n - 1; depth >= 0; --depth) {
    const int64_t at = call.stencils.at(view, depth, u);
    const float seen = ray.survival(at, z) * rotated(call.stencils, volume, nz, at, z);
    if (planes) planes[((v * n + depth) * n + u) * nz + z] = seen;
    sum += seen;
  }
  if (!planes) call.views[((part.member * call.stencils.views + view) * n + u) * nz + z] = sum;
}

__global__ void __launch_bounds__(kThreads)
    across_kernel(const __grid_constant__ ProjectCall call, const __grid_constant__ Part part, const float* planes,
                  float* out) {
  const int64_t n = call.n(), nz = call.nz, i = thread_number();
  if (i >= part.count * n * n * nz) return;
  const int64_t u = i / nz % n, depth = i / nz / n % n, view = part.first + i / nz / n / n;
  out[i] = across(call.taps.of(view, depth), call.taps.reach, planes + i, nz, u, n);
}

__global__ void __launch_bounds__(kThreads)
    along_kernel(const __grid_constant__ ProjectCall call, const __grid_constant__ Part part, const float* planes) {
  const int64_t n = call.n(), nz = call.nz, i = thread_number();
  if (i >= part.count * n * nz) return;
  const int64_t z = i % nz, u = i / nz % n, v = i / nz / n, view = part.first + v;
  float sum = 0.0f;
  for (int64_t depth = 0; depth < n; ++depth)
    sum += across(call.taps.of(view, depth), call.taps.reach, planes + ((v * n + depth) * n + u) * nz + z, 1, z, nz);
  call.views[((part.member * call.stencils.views + view) * n + u) * nz + z] = sum;
}

Tensor project(const Tensor& activity, const Tensor& index, const Tensor& weight, const Tensor& span,
               const MaybeTensor& mu, const MaybeTensor& survival, const MaybeTensor& taps, double step) {
  const torch::stable::accelerator::DeviceGuard guard(activity.get_device_index());
  const cudaStream_t stream = current_stream(activity);
  const Tensor views = empty_views(activity, index);
  const ProjectCall call = unpack_project(activity, index, weight, span, mu, survival, taps, step, views);
  if (views.numel() == 0) return views;
  const int64_t view = call.n() * call.nz, volume = call.n() * view;
  by_parts(call.batch, call.stencils.views, volume, [&](const Part& part) {
    if (!call.taps.taps) {
      rays_kernel<<<blocks_of(part.count * view), kThreads, 0, stream>>>(call, part, nullptr);
    } else {
      const Tensor scratch = torch::stable::new_empty(activity, {2, part.count * volume});
      float *planes = scratch.mutable_data_ptr<float>(), *blurred = planes + part.count * volume;
      rays_kernel<<<blocks_of(part.count * view), kThreads, 0, stream>>>(call, part, planes);
      across_kernel<<<blocks_of(part.count * volume), kThreads, 0, stream>>>(call, part, planes, blurred);
      along_kernel<<<blocks_of(part.count * view), kThreads, 0, stream>>>(call, part, blurred);
    }
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  });
  return views;
}

__global__ void __launch_bounds__(kThreads) survival_kernel(const __grid_constant__ SurvivalCall call) {
  const int64_t n = call.stencils.n, nz = call.nz, views = call.stencils.views, i = thread_number();
  if (i >= call.batch * views * n * nz) return;
  const int64_t z = i % nz, u = i / nz % n, item = i / nz / n;
  const Attenuation attenuation{call.mu, nullptr, n * n * nz, call.step};
  Ray ray{attenuation, call.stencils, item / views, nz};
  for (int64_t depth = n - 1; depth >= 0; --depth)
    call.out[((item * n + depth) * n + u) * nz + z] = ray.survival(call.stencils.at(item % views, depth, u), z);
}

Tensor photon_survival(const Tensor& mu, const Tensor& index, const Tensor& weight, const Tensor& span, double step) {
  const torch::stable::accelerator::DeviceGuard guard(mu.get_device_index());
  const Tensor result = empty_survival(mu, index);
  const SurvivalCall call = unpack_photon_survival(mu, index, weight, span, step, result);
  if (result.numel() == 0) return result;
  const int64_t rays = result.numel() / call.stencils.n;
  survival_kernel<<<blocks_of(rays), kThreads, 0, current_stream(mu)>>>(call);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return result;
}

}  // namespace
}  // namespace sf

STABLE_TORCH_LIBRARY_IMPL(spectac_fast, CUDA, library) {
  library.impl("project", TORCH_BOX(&sf::project));
  library.impl("photon_survival", TORCH_BOX(&sf::photon_survival));
}
