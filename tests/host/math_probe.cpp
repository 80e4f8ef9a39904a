// Exposes the scalar functions of csrc/math to the tests, through ctypes.
#include "math/half.h"
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

void probe_normal_pairs(const uint32_t* words, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    const sf::NormalPair z = sf::normal_pair(words[2 * i], words[2 * i + 1]);
    out[2 * i] = z.z1;
    out[2 * i + 1] = z.z2;
  }
}

void probe_log(const float* in, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = sf::log_of_uniform(in[i]);
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
}
