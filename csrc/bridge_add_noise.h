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
  STD_TORCH_CHECK(is_counter(step) && is_counter(sample), op, ": step and sample must be in 0 ... 2^32 - 1.");
  STD_TORCH_CHECK(objective >= 0 && objective <= 2, op, ": objective must be 0, 1 or 2, found ", objective, ".");
  const int64_t n = x0.numel();
  NoiseCall call{};
  call.slices = x0.size(0);
  call.elements = call.slices ? n / call.slices : 0;
  call.x0 = read_from<float>(x0, n, op, "x0");
  call.y = read_like<float>(y, x0, op, "y");
  call.t = read_shaped<int64_t>(t, {call.slices}, x0, op, "t");
  call.timesteps = schedule.numel() / 2;
  STD_TORCH_CHECK(call.timesteps > 0, op, ": schedule must be [T, 2].");
  call.schedule = read_shaped<float>(schedule, {call.timesteps, 2}, x0, op, "schedule");
  call.seeds = read_shaped<int64_t>(seeds, {call.slices}, x0, op, "seeds");
  call.noise = read_like<float>(noise, x0, op, "noise");
  call.step = uint32_t(step);
  call.sample = uint32_t(sample);
  call.objective = Objective(objective);
  check_like(x_t, x0, op, "x_t");
  call.x_t = x_t.mutable_data_ptr();
  call.x_t_type = net_type(x_t, op, "x_t");
  call.target = write_like<float>(target, x0, op, "target");
  check_apart(op, {place_of(x0), place_of(y), place_of(t), place_of(schedule), place_of(seeds), place_of(noise)},
              {place_of(x_t), place_of(target)});
  return call;
}

}  // namespace sf
