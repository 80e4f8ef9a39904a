// Exposes the functions of csrc/math, and the lanes of csrc/cpu, to the tests, through ctypes.
#include "cpu/normals.h"
#include "math/divide.h"
#include "math/half.h"
#include "math/moments.h"
#include "math/nearest.h"
#include "math/norm.h"
#include "math/philox.h"

extern "C" {

void probe_words(const uint32_t* counters, const uint32_t* keys, int64_t n, uint32_t* out) {
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t* c = counters + 4 * i;
    const sf::Words w = sf::philox({c[0], c[1], c[2], c[3]}, keys[2 * i], keys[2 * i + 1]);
    out[4 * i] = w.w0;
    out[4 * i + 1] = w.w1;
    out[4 * i + 2] = w.w2;
    out[4 * i + 3] = w.w3;
  }
}

// Words of the counters of one draw, from `first` on, by one width of lanes; returns false where this machine lacks it.
bool probe_lanes(const char* width, int64_t seed, uint32_t first, const uint32_t* rest, uint32_t* out) {
  sf::WordsFunction words = sf::words_anywhere;
#ifdef SF_X86
  if (width[0] == '4') {
    if (!__builtin_cpu_supports("avx2")) return false;
    words = sf::words_avx2;
  } else if (width[0] == '8') {
    if (!__builtin_cpu_supports("avx512f")) return false;
    words = sf::words_avx512;
  }
#else
  if (width[0] != '1') return false;
#endif
  sf::WordBlock block;
  words(block, first, sf::NoiseStream(seed, rest[0], rest[1], rest[2]));
  for (int64_t i = 0; i < sf::kCounters; ++i) {
    out[4 * i] = block.w0[i];
    out[4 * i + 1] = block.w1[i];
    out[4 * i + 2] = block.w2[i];
    out[4 * i + 3] = block.w3[i];
  }
  return true;
}

int64_t probe_draw_size() { return sf::kCounters; }

// The normals of one draw, as the CPU operators make them.
void probe_draw(int64_t seed, uint32_t first, const uint32_t* rest, float* out) {
  sf::draw_normals(out, first, sf::NoiseStream(seed, rest[0], rest[1], rest[2]));
}

// Returns the first number whose quotient or rest is not that of division, or -1.
int64_t probe_divide(uint32_t divisor, const uint32_t* numbers, int64_t n) {
  const sf::Divider by = sf::divider_by(divisor);
  for (int64_t i = 0; i < n; ++i)
    if (by.quotient(numbers[i]) != numbers[i] / divisor || by.rest(numbers[i]) != numbers[i] % divisor) return numbers[i];
  return -1;
}

void probe_normal_pairs(const uint32_t* words, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    const sf::NormalPair z = sf::normal_pair(words[2 * i], words[2 * i + 1]);
    out[2 * i] = z.z1;
    out[2 * i + 1] = z.z2;
  }
}

void probe_log(const float* in, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = sf::minus_two_log(in[i]);
}

void probe_widen(const uint16_t* in, int64_t n, float* float16, float* bfloat16) {
  for (int64_t i = 0; i < n; ++i) {
    float16[i] = sf::from_float16(in[i]);
    bfloat16[i] = sf::from_bfloat16(in[i]);
  }
}

void probe_narrow(const float* in, int64_t n, uint16_t* float16, uint16_t* bfloat16) {
  for (int64_t i = 0; i < n; ++i) {
    float16[i] = sf::to_float16(in[i]);
    bfloat16[i] = sf::to_bfloat16(in[i]);
  }
}

struct Points {
  const float *x, *y;

  sf::Moments<float> operator()(int tap) const { return {x[5 + tap], y[5 + tap], 0.0f, 0.0f}; }
};

struct Parts {
  const float* moments;

  sf::Moments<float> operator()(int tap) const {
    const float* m = moments + 4 * (5 + tap);
    return {m[0], m[1], m[2], m[3]};
  }
};

// n windows of 11 pixels of two images to their moments, and n windows of 11 such parts to theirs.
void probe_mix(const float* k, const float* x, const float* y, const float* parts, int64_t n, float* points, float* mixed) {
  sf::Window<float, 5> window;
  for (int i = 0; i <= 5; ++i) window.k[i] = k[i];
  for (int64_t i = 0; i < n; ++i) {
    const sf::Moments<float> a = sf::mix<true>(window, Points{x + 11 * i, y + 11 * i});
    const sf::Moments<float> b = sf::mix<false>(window, Parts{parts + 44 * i});
    const float row[8] = {a.mx, a.my, a.d, a.c, b.mx, b.my, b.d, b.c};
    for (int j = 0; j < 4; ++j) {
      points[4 * i + j] = row[j];
      mixed[4 * i + j] = row[4 + j];
    }
  }
}

// Moments to SSIM, and to SSIM with its four slopes about an origin, of the same windows.
void probe_ssim(const double* moments, const double* origin, double range, int64_t n, double* ssim, double* slopes) {
  const sf::Scales<double> scales{1 / range, 1 / (range * range)};
  for (int64_t i = 0; i < n; ++i) {
    const double* m = moments + 4 * i;
    const sf::Moments<double> window{m[0], m[1], m[2], m[3]};
    sf::Slopes<double> s;
    ssim[2 * i] = sf::ssim(window, scales);
    ssim[2 * i + 1] = sf::ssim_with_slopes(window, scales, {origin[0], origin[1]}, s);
    slopes[4 * i] = s.from_x;
    slopes[4 * i + 1] = s.from_y;
    slopes[4 * i + 2] = s.p;
    slopes[4 * i + 3] = s.q;
  }
}

void probe_exp(const float* in, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = sf::exp_of(in[i]);
}

void probe_silu(const float* in, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = sf::silu(in[i]);
}

// Mean and variance of n values, joined from parts of `part` values each.
void probe_spread(const float* in, int64_t n, int64_t part, double* out) {
  sf::Spread<double> all{};
  for (int64_t first = 0; first < n; first += part) {
    const int64_t count = n - first < part ? n - first : part;
    const double about = in[first];
    double sum = 0, squares = 0;
    for (int64_t i = first; i < first + count; ++i) {
      sum += in[i] - about;
      squares += (in[i] - about) * (in[i] - about);
    }
    all = sf::merge(all, sf::spread_about(about, double(count), sum, squares));
  }
  out[0] = all.mean;
  out[1] = all.m2 / double(n);
}

void probe_nearness(const float* distances, const uint32_t* codes, int64_t n, uint64_t* out, uint8_t* near) {
  for (int64_t i = 0; i < n; ++i) {
    out[i] = sf::nearness(distances[i], codes[i]);
    near[i] = sf::is_near(out[i]) && sf::code_of(out[i]) == codes[i];
  }
}
}
