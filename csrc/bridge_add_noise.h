// The arguments of one bridge_add_noise call as plain pointers, checked once for both back ends.
#pragma once

#include "glue.h"
#include "math/bridge.h"

namespace sf {

struct NoiseCall {
  int64_t slices, elements;     // B and the elements of a slice
  const float *x0, *y;          // [B, elements]
  const int64_t* t;             // [B]
  const float* schedule;        // [timesteps, 2]
  int64_t timesteps;
  const int64_t* seeds;         // [B] or null
  const float* noise;           // [B, elements] or null
  uint32_t step, sample;
  Objective objective;
  void* x_t;                    // [B, elements] of x_t_type
  NetType x_t_type;
  float* target;                // [B, elements] or null

  // m and sqrt(delta) of a slice; NaN where its timestep is not in the schedule.
  SF_HD Level level(int64_t slice) const {
    const int64_t at = t[slice];
    const bool inside = at >= 0 && at < timesteps;
    return inside ? Level{schedule[2 * at], schedule[2 * at + 1]} : Level{NAN, NAN};
  }
};

inline NoiseCall unpack_noise(const Tensor& x0, const Tensor& y, const Tensor& t, const Tensor& schedule,
                              const MaybeTensor& seeds, const MaybeTensor& noise, int64_t step, int64_t sample,
                              int64_t objective, const Tensor& x_t, const MaybeTensor& target) {
  const char* op = "bridge_add_noise";
  STD_TORCH_CHECK(x0.dim() >= 1, op, ": x0 must be [B, ...].");
  STD_TORCH_CHECK(seeds.has_value() != noise.has_value(), op, ": give either seeds or noise.");
  STD_TORCH_CHECK(objective >= 0 && objective <= 2, op, ": objective must be 0, 1 or 2, found ", objective, ".");
  const int64_t n = x0.numel();
  NoiseCall call{};
  call.slices = x0.size(0);
  call.elements = call.slices ? n / call.slices : 0;
  call.x0 = read_from<float>(x0, n, op, "x0");
  call.y = read_from<float>(y, n, op, "y");
  call.t = read_from<int64_t>(t, call.slices, op, "t");
  call.timesteps = schedule.numel() / 2;
  call.schedule = read_from<float>(schedule, 2 * call.timesteps, op, "schedule");
  call.seeds = read_from<int64_t>(seeds, call.slices, op, "seeds");
  call.noise = read_from<float>(noise, n, op, "noise");
  call.step = uint32_t(step);
  call.sample = uint32_t(sample);
  call.objective = Objective(objective);
  check_dense(x_t, n, op, "x_t");
  call.x_t = x_t.mutable_data_ptr();
  call.x_t_type = net_type(x_t, op, "x_t");
  call.target = write_to<float>(target, n, op, "target");
  return call;
}

}  // namespace sf
