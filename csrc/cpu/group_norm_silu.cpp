// group_norm_silu on the CPU. A contiguous group is worked on by one thread while it lies in the cache; with channels
// last, rows of all channels are, segment by segment of a sample. Either way the order of every sum follows from the
// shape alone, so results depend neither on the threads nor on the rest of the batch.
#include "group_norm_silu.h"

#include <algorithm>

#include "cpu/blocks.h"

namespace sf {
namespace {

constexpr int64_t kChunk = 4096;           // elements whose two passes stay in the first-level cache
constexpr int64_t kTile = 512;             // channels of a row worked on at a time
constexpr int64_t kTogether = 64;          // short channels of a contiguous group worked on at a time
constexpr int64_t kSegment = 16 * kChunk;  // elements of a sample that a thread takes at a time, channels last
constexpr int64_t kLanes = 128;            // partial sums, enough to hide the latency of addition
constexpr int64_t kFewLanes = 32;          // of a group that has no more

// Halves are added until one lane is left; each by a loop of fixed length, which stays in registers.
template <int64_t kHalf>
SF_HD float sum_of_lanes(float* lane) {
  for (int64_t k = 0; k < kHalf; ++k) lane[k] += lane[k + kHalf];
  if constexpr (kHalf > 1) return sum_of_lanes<kHalf / 2>(lane);
  return lane[0];
}

// Sum over i of term(x[i]) in lanes, because a compiler keeps the order of a float sum and so leaves it serial.
template <int64_t kCount, class Term>
SF_HD float sum_in(const float* x, int64_t n, const Term& term) {
  alignas(64) float lane[kCount] = {};
  int64_t i = 0;
  for (; i + kCount <= n; i += kCount)
    for (int64_t k = 0; k < kCount; ++k) lane[k] += term(x[i + k]);
  for (int64_t k = 0; k < n - i; ++k) lane[k] += term(x[i + k]);
  return sum_of_lanes<kCount / 2>(lane);
}

// Of a few, only the lanes that they come to: the others would add zeros.
template <class Term>
SF_HD float sum(const float* x, int64_t n, const Term& term) {
  return n <= kFewLanes ? sum_in<kFewLanes>(x, n, term) : sum_in<kLanes>(x, n, term);
}

SF_WIDE Spread<double> spread_of(const float* x, int64_t n) {
  const float about = sum(x, n, [](float v) { return v; }) / float(n);
  const float rest = sum(x, n, [about](float v) { return v - about; });
  const float squares = sum(x, n, [about](float v) { return (v - about) * (v - about); });
  return spread_about<double>(about, double(n), rest, squares);
}

// Channels one after the other, `n` positions and a line each.
template <Activation kActivation>
SF_HD void apply_channels(const float* x, int64_t channels, int64_t n, const Line* lines, float* out) {
  for (int64_t c = 0; c < channels; ++c, x += n, out += n) {
    const Line l = lines[c];
    for (int64_t i = 0; i < n; ++i) out[i] = normalised<kActivation>(x[i], l);
  }
}

SF_WIDE void apply_channels(Activation activation, const float* x, int64_t channels, int64_t n, const Line* lines,
                            float* out) {
  switch (activation) {
    case Activation::none: return apply_channels<Activation::none>(x, channels, n, lines, out);
    case Activation::relu: return apply_channels<Activation::relu>(x, channels, n, lines, out);
    case Activation::leaky_relu: return apply_channels<Activation::leaky_relu>(x, channels, n, lines, out);
    case Activation::silu: return apply_channels<Activation::silu>(x, channels, n, lines, out);
  }
}

struct Statistics {
  float centre, rest, rstd;
};

// The mean in two floats, because beside a small spread the rounding of one shows.
Statistics statistics(double mean, double variance, float eps) {
  const float centre = float(mean);
  return {centre, float(mean - centre), float(1.0 / sqrt(variance + eps))};
}

// The lines of channels side by side. Widened, because without its instruction every fused product is a call.
SF_WIDE void lines_of(const NormCall& call, int64_t sample, int64_t first, int64_t channels, const Statistics& s,
                      Line* lines) {
  for (int64_t k = 0; k < channels; ++k) lines[k] = line_of(call, sample, first + k, s.centre, s.rest, s.rstd);
}

void normalise_group(const NormCall& call, int64_t item) {
  alignas(64) float buffer[kChunk];
  const int64_t sample = item / call.groups, first = item % call.groups * call.width();
  const int64_t n = call.width() * call.spatial, at = item * n;
  Spread<double> all{};
  for (int64_t i = 0; i < n; i += kChunk) {
    const int64_t count = std::min(kChunk, n - i);
    all = merge(all, spread_of(as_float(call.x, call.type, at + i, count, buffer), count));
  }
  const Statistics s = statistics(all.mean, all.m2 / double(n), call.eps);
  // Several channels at a time where they are short, otherwise one, piece by piece.
  const int64_t together = std::clamp<int64_t>(kChunk / call.spatial, 1, kTogether);
  Line lines[kTogether];
  for (int64_t c = 0; c < call.width(); c += together) {
    const int64_t channels = std::min(together, call.width() - c);
    lines_of(call, sample, first + c, channels, s, lines);
    for (int64_t i = 0; i < call.spatial; i += kChunk) {
      const int64_t each = std::min(kChunk, call.spatial - i), count = channels * each, from = at + c * call.spatial + i;
      const float* x = as_float(call.x, call.type, from, count, buffer);
      float* out = float_room(call.out, call.type, from, buffer);
      apply_channels(call.activation, x, channels, each, lines, out);
      deliver(out, count, call.out, call.type, from);
    }
  }
}

// `rows` rows of `width` channels, `stride` apart.
struct Rows {
  const float* x;
  int64_t rows, width, stride;
};

// Rows from `at` on of a tensor with `channels` channels, in place or widened into the buffer of kChunk floats.
Rows rows_at(const NormCall& call, int64_t at, int64_t rows, int64_t width, float* buffer) {
  if (call.type == NetType::float32) return {static_cast<const float*>(call.x) + at, rows, width, call.channels};
  for (int64_t r = 0; r < rows; ++r) as_float(call.x, call.type, at + r * call.channels, width, buffer + r * width);
  return {buffer, rows, width, width};
}

// Moments of every channel of a segment; the mean in two floats, centre + rest.
struct ChannelMoments {
  float *centre, *rest, *m2;
};

// Adds the rows to the moments, which cover `before` rows.
SF_WIDE void add_rows(const Rows& in, float before, const ChannelMoments& all) {
  alignas(64) float about[kTile] = {}, sum[kTile] = {}, squares[kTile] = {};
  float *__restrict centre = all.centre, *__restrict rest = all.rest, *__restrict m2 = all.m2;
  const int64_t width = in.width;
  const float count = float(in.rows), one_over = 1.0f / count, share = count / (before + count);
  for (int64_t r = 0; r < in.rows; ++r)
    for (int64_t c = 0; c < width; ++c) about[c] += in.x[r * in.stride + c];
  for (int64_t c = 0; c < width; ++c) about[c] *= one_over;
  for (int64_t r = 0; r < in.rows; ++r)
    for (int64_t c = 0; c < width; ++c) {
      const float d = in.x[r * in.stride + c] - about[c];
      sum[c] += d;
      squares[c] = fma(d, d, squares[c]);
    }
  if (before == 0) std::copy_n(about, width, centre);
  for (int64_t c = 0; c < width; ++c) {
    const float offset = sum[c] * one_over, apart = (about[c] - centre[c]) + offset - rest[c];
    m2[c] += fma(-sum[c], offset, squares[c]) + apart * apart * before * share;
    rest[c] = fma(apart, share, rest[c]);
  }
}

struct Lines {
  const float *centre, *slope, *level;
};

template <Activation kActivation>
SF_HD void apply_lines(const float* x, int64_t n, const Lines& lines, float* out) {
  const Lines l = lines;
  for (int64_t c = 0; c < n; ++c) out[c] = normalised<kActivation>(x[c], {l.centre[c], l.slope[c], l.level[c]});
}

SF_WIDE void apply_lines(Activation activation, const float* x, int64_t n, const Lines& lines, float* out) {
  switch (activation) {
    case Activation::none: return apply_lines<Activation::none>(x, n, lines, out);
    case Activation::relu: return apply_lines<Activation::relu>(x, n, lines, out);
    case Activation::leaky_relu: return apply_lines<Activation::leaky_relu>(x, n, lines, out);
    case Activation::silu: return apply_lines<Activation::silu>(x, n, lines, out);
  }
}

// One sample with channels last. Scratch per sample: moments of every channel in every segment, then the lines.
struct LastSample {
  const NormCall& call;
  int64_t sample, segment_rows, segments;
  float *moments, *lines;

  int64_t rows_in(int64_t segment) const { return std::min(segment_rows, call.spatial - segment * segment_rows); }
  int64_t first_row(int64_t segment) const { return sample * call.spatial + segment * segment_rows; }
  ChannelMoments found(int64_t segment, int64_t channel) const {
    float* first = moments + 3 * segment * call.channels + channel;
    return {first, first + call.channels, first + 2 * call.channels};
  }

  void measure(int64_t segment) const {
    alignas(64) float buffer[kChunk];
    std::fill_n(found(segment, 0).centre, 3 * call.channels, 0.0f);
    const int64_t rows = rows_in(segment);
    for (int64_t c = 0; c < call.channels; c += kTile) {
      const int64_t width = std::min(kTile, call.channels - c), step = kChunk / width;
      for (int64_t r = 0; r < rows; r += step) {
        const int64_t at = (first_row(segment) + r) * call.channels + c;
        add_rows(rows_at(call, at, std::min(step, rows - r), width, buffer), float(r), found(segment, c));
      }
    }
  }

  void draw_lines(int64_t group) const {
    const int64_t first = group * call.width(), end = first + call.width(), n = call.width() * call.spatial;
    const auto mean = [](const ChannelMoments& m, int64_t k) { return double(m.centre[k]) + m.rest[k]; };
    double total = 0, squares = 0;
    for (int64_t s = 0; s < segments; ++s) {
      const ChannelMoments m = found(s, first);
      for (int64_t k = 0; k < call.width(); ++k) total += double(rows_in(s)) * mean(m, k);
    }
    const double average = total / double(n);
    for (int64_t s = 0; s < segments; ++s) {
      const ChannelMoments m = found(s, first);
      for (int64_t k = 0; k < call.width(); ++k) {
        const double apart = mean(m, k) - average;
        squares += m.m2[k] + double(rows_in(s)) * apart * apart;
      }
    }
    const Statistics group_has = statistics(average, squares / double(n), call.eps);
    Line few[kTogether];
    for (int64_t c = first; c < end; c += kTogether) {
      const int64_t channels = std::min(kTogether, end - c);
      lines_of(call, sample, c, channels, group_has, few);
      for (int64_t k = 0; k < channels; ++k) {
        lines[c + k] = few[k].centre;
        lines[call.channels + c + k] = few[k].slope;
        lines[2 * call.channels + c + k] = few[k].level;
      }
    }
  }

  void apply(int64_t segment) const {
    alignas(64) float buffer[kChunk];
    for (int64_t r = 0; r < rows_in(segment); ++r)
      for (int64_t c = 0; c < call.channels; c += kChunk) {
        const int64_t width = std::min(kChunk, call.channels - c), at = (first_row(segment) + r) * call.channels + c;
        const float* x = as_float(call.x, call.type, at, width, buffer);
        float* out = float_room(call.out, call.type, at, buffer);
        const float* l = lines + c;
        apply_lines(call.activation, x, width, {l, l + call.channels, l + 2 * call.channels}, out);
        deliver(out, width, call.out, call.type, at);
      }
  }
};

void normalise_last(const NormCall& call, const Tensor& like) {
  const int64_t segment_rows = std::max<int64_t>(1, kSegment / call.channels);
  const int64_t segments = (call.spatial + segment_rows - 1) / segment_rows, moments = 3 * segments * call.channels;
  const int64_t per_sample = moments + 3 * call.channels;
  const Tensor scratch =
      torch::stable::new_empty(like, {call.samples, per_sample}, torch::headeronly::ScalarType::Float);
  float* const first = scratch.mutable_data_ptr<float>();
  // Samples are shared out where there are plenty, otherwise the segments of one: a parallel loop within another is serial.
  const int64_t grain = call.samples >= 2 * int64_t(torch::stable::get_num_threads()) ? 1 : call.samples;
  torch::stable::parallel_for(0, call.samples, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      float* const moments_of_it = first + i * per_sample;
      const LastSample sample{call, i, segment_rows, segments, moments_of_it, moments_of_it + moments};
      torch::stable::parallel_for(0, segments, 1, [&](int64_t b, int64_t e) {
        for (int64_t s = b; s < e; ++s) sample.measure(s);
      });
      for (int64_t g = 0; g < call.groups; ++g) sample.draw_lines(g);
      torch::stable::parallel_for(0, segments, 1, [&](int64_t b, int64_t e) {
        for (int64_t s = b; s < e; ++s) sample.apply(s);
      });
    }
  });
}

void group_norm_silu(const Tensor& x, int64_t groups, const MaybeTensor& weight, const MaybeTensor& bias,
                     const MaybeTensor& scale, const MaybeTensor& shift, double eps, const std::string& activation,
                     const Tensor& out) {
  const NormCall call = unpack_norm(x, groups, weight, bias, scale, shift, eps, activation, out);
  if (x.numel() == 0) return;
  if (call.channels_last) return normalise_last(call, x);
  const int64_t grain = std::max<int64_t>(1, 2 * kChunk / (call.width() * call.spatial));
  torch::stable::parallel_for(0, call.samples * call.groups, grain, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) normalise_group(call, item);
  });
}

}  // namespace
}  // namespace sf

STABLE_TORCH_LIBRARY_IMPL(spectac_fast, CPU, library) {
  library.impl("group_norm_silu", TORCH_BOX(&sf::group_norm_silu));
}
