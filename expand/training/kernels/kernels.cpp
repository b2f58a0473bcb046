// Gradients of channel-wise 3D convolutions, of float32 tensors in channels-last layout (N, T, H, W, C). Plain C++ with the
// vectors of GCC and Clang, which become whatever registers the machine has. The interface is C.

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

namespace {

using Index = std::int64_t;

// L floats. `Packed` may lie at any address that a float may have.
template <int L> struct Lanes {
  typedef float V __attribute__((vector_size(4 * L)));
  typedef float Packed __attribute__((vector_size(4 * L), aligned(4), may_alias));
};
template <> struct Lanes<1> {
  typedef float V;
  typedef float Packed;
};

template <int L> inline typename Lanes<L>::V load(const float* from) {
  return *reinterpret_cast<const typename Lanes<L>::Packed*>(from);
}
template <int L> inline void store(float* to, typename Lanes<L>::V value) {
  *reinterpret_cast<typename Lanes<L>::Packed*>(to) = value;
}

#if defined(__AVX512F__)
constexpr int WIDEST = 16;  // the floats of a register; wider vectors are compiled badly
#elif defined(__AVX__)
constexpr int WIDEST = 8;
#else
constexpr int WIDEST = 4;
#endif

// Calls f with the widest lanes that fit into `channels`. Blocks of channels start at 0, L, 2L, ...; the last one starts at
// channels - L and repeats some of them, so that no block is narrower.
template <class F> inline void with_lanes(Index channels, F f) {
  if (channels >= WIDEST) f(std::integral_constant<int, WIDEST>());
  else if (WIDEST > 8 && channels >= 8) f(std::integral_constant<int, std::min(8, WIDEST)>());
  else if (channels >= 4) f(std::integral_constant<int, 4>());
  else f(std::integral_constant<int, 1>());
}

// The work of one row of an output: out[j] = sum over rows r and taps k of in[r][j * step + offset[k]] * weight[r][k].
struct Row {
  const float* in;      // a row of the input, (width, C)
  const float* weight;  // (taps, C), the first of `Shape.kernel` taps
};
struct Taps {
  int count;
  Index offset[64];  // in positions of the input row
  int place[64];     // which tap of the kernel
};

// TILE neighbouring positions at once, whose taps all lie inside the row.
template <int L, int TILE>
inline void tile(const Row* rows, int count, const Taps& taps, Index j, Index step, Index channels, Index c, float* out,
                 Index out_step) {
  typename Lanes<L>::V sum[TILE];
#pragma GCC unroll 8
  for (int t = 0; t < TILE; ++t) sum[t] = typename Lanes<L>::V{};
  const Index apart = step * channels;
  for (int r = 0; r < count; ++r) {
    const float* in = rows[r].in + j * apart + c;
    const float* weights = rows[r].weight + c;
    for (int k = 0; k < taps.count; ++k) {
      const auto weight = load<L>(weights + taps.place[k] * channels);
      const float* from = in + taps.offset[k] * channels;
#pragma GCC unroll 8
      for (int t = 0; t < TILE; ++t) sum[t] += load<L>(from + t * apart) * weight;
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < TILE; ++t) store<L>(out + (j + t) * out_step * channels + c, sum[t]);
}

// One position near an end of the row, where some taps lie outside.
template <int L>
inline void edge(const Row* rows, int count, const Taps& taps, Index j, Index step, Index width, Index channels, Index c,
                 float* out, Index out_step) {
  typename Lanes<L>::V sum{};
  for (int k = 0; k < taps.count; ++k) {
    const Index at = j * step + taps.offset[k];
    if (at < 0 || at >= width) continue;
    for (int r = 0; r < count; ++r)
      sum += load<L>(rows[r].in + at * channels + c) * load<L>(rows[r].weight + taps.place[k] * channels + c);
  }
  store<L>(out + j * out_step * channels + c, sum);
}

void row(const Row* rows, int count, const Taps& taps, Index step, Index width, Index channels, float* out, Index out_step,
         Index out_count) {
  Index lowest = 0, highest = 0;
  for (int k = 0; k < taps.count; ++k) {
    lowest = std::min(lowest, taps.offset[k]);
    highest = std::max(highest, taps.offset[k]);
  }
  const Index first = std::min(out_count, (-lowest + step - 1) / step);
  const Index end = width - highest <= 0 ? first : std::max(first, std::min(out_count, (width - highest - 1) / step + 1));
  with_lanes(channels, [&](auto lanes) {
    constexpr int L = decltype(lanes)::value, TILE = 6;
    for (Index block = 0; block < channels; block += L) {
      const Index c = std::min(block, channels - L);
      Index j = 0;
      for (; j < first; ++j) edge<L>(rows, count, taps, j, step, width, channels, c, out, out_step);
      for (; j + TILE <= end; j += TILE) tile<L, TILE>(rows, count, taps, j, step, channels, c, out, out_step);
      for (; j < end; ++j) tile<L, 1>(rows, count, taps, j, step, channels, c, out, out_step);
      for (; j < out_count; ++j) edge<L>(rows, count, taps, j, step, width, channels, c, out, out_step);
    }
  });
}

}  // namespace

extern "C" {

struct Shape {
  Index clips, channels;
  Index in[3], out[3];  // time, height, width
  Index kernel[3], stride[3], padding[3];
};

// The gradient of the input, (N, T, H, W, C), from that of the output.
void expand_depthwise_for_input(const Shape* s, const float* gradient, const float* weight, float* out, int threads) {
  const Index C = s->channels, step = s->stride[2];
  const Index lines = s->clips * s->in[0] * s->in[1];
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (Index line = 0; line < lines; ++line) {
    const Index h = line % s->in[1], t = line / s->in[1] % s->in[0], n = line / (s->in[1] * s->in[0]);
    std::vector<Row> rows;
    for (Index i = 0; i < s->kernel[0]; ++i) {
      const Index to_t = t + s->padding[0] - i;
      if (to_t < 0 || to_t % s->stride[0] || to_t / s->stride[0] >= s->out[0]) continue;
      for (Index k = 0; k < s->kernel[1]; ++k) {
        const Index to_h = h + s->padding[1] - k;
        if (to_h < 0 || to_h % s->stride[1] || to_h / s->stride[1] >= s->out[1]) continue;
        rows.push_back({gradient + ((n * s->out[0] + to_t / s->stride[0]) * s->out[1] + to_h / s->stride[1]) * s->out[2] * C,
                        weight + (i * s->kernel[1] + k) * s->kernel[2] * C});
      }
    }
    for (Index phase = 0; phase < std::min(step, s->in[2]); ++phase) {  // positions that the same taps reach
      Taps taps;
      taps.count = 0;
      for (Index k = 0; k < s->kernel[2]; ++k) {
        const Index shift = phase + s->padding[2] - k;
        if (shift % step) continue;
        taps.offset[taps.count] = shift / step, taps.place[taps.count++] = static_cast<int>(k);
      }
      row(rows.data(), static_cast<int>(rows.size()), taps, 1, s->out[2], C, out + (line * s->in[2] + phase) * C, step,
          (s->in[2] - phase + step - 1) / step);
    }
  }
}

}  // extern "C"

namespace {

// Adds one row's part to the gradient of KW neighbouring taps: sum over j of in[j * step + k - padding] * gradient[j].
template <int L, int KW>
inline void row_for_weight(const Shape* s, const float* in, const float* gradient, Index c, float* sums) {
  const Index C = s->channels, step = s->stride[2], padding = s->padding[2], width = s->in[2];
  typename Lanes<L>::V sum[KW];
  for (int k = 0; k < KW; ++k) sum[k] = load<L>(sums + k * L);
  for (Index j = 0; j < s->out[2]; ++j) {
    const auto g = load<L>(gradient + j * C + c);
    const Index at = j * step - padding;
    if (at >= 0 && at + KW <= width) {
      for (int k = 0; k < KW; ++k) sum[k] += load<L>(in + (at + k) * C + c) * g;
    } else {
      for (int k = 0; k < KW; ++k)
        if (at + k >= 0 && at + k < width) sum[k] += load<L>(in + (at + k) * C + c) * g;
    }
  }
  for (int k = 0; k < KW; ++k) store<L>(sums + k * L, sum[k]);
}

template <int L>
inline void row_for_weight_of_any_width(const Shape* s, const float* in, const float* gradient, Index c, float* sums) {
  const Index C = s->channels;
  for (Index k = 0; k < s->kernel[2]; ++k) {
    auto sum = load<L>(sums + k * L);
    for (Index j = 0; j < s->out[2]; ++j) {
      const Index at = j * s->stride[2] + k - s->padding[2];
      if (at >= 0 && at < s->in[2]) sum += load<L>(in + at * C + c) * load<L>(gradient + j * C + c);
    }
    store<L>(sums + k * L, sum);
  }
}

}  // namespace

extern "C" {

// The gradient of the weight, (kt, kh, kw, C). Every thread sums its share of the rows; the shares are added in order.
void expand_depthwise_for_weight(const Shape* s, const float* in, const float* gradient, float* out, int threads) {
  const Index C = s->channels, taps = s->kernel[0] * s->kernel[1] * s->kernel[2];
  with_lanes(C, [&](auto lanes) {
    constexpr int L = decltype(lanes)::value;
    const Index blocks = (C + L - 1) / L, size = blocks * taps * L;
    const Index lines = s->clips * s->out[0] * s->out[1];
    std::vector<float> all(static_cast<std::size_t>(threads * size), 0.0f);
#pragma omp parallel for schedule(static, 1) num_threads(threads) if (threads > 1)
    for (int thread = 0; thread < threads; ++thread) {
      float* own = all.data() + thread * size;
      for (Index line = lines * thread / threads; line < lines * (thread + 1) / threads; ++line) {
        const Index h = line % s->out[1], t = line / s->out[1] % s->out[0], n = line / (s->out[1] * s->out[0]);
        const float* g = gradient + line * s->out[2] * C;
        for (Index block = 0; block < blocks; ++block) {
          const Index c = std::min(block * L, C - L);
          for (Index i = 0; i < s->kernel[0]; ++i) {
            const Index from_t = t * s->stride[0] + i - s->padding[0];
            if (from_t < 0 || from_t >= s->in[0]) continue;
            for (Index k = 0; k < s->kernel[1]; ++k) {
              const Index from_h = h * s->stride[1] + k - s->padding[1];
              if (from_h < 0 || from_h >= s->in[1]) continue;
              const float* x = in + ((n * s->in[0] + from_t) * s->in[1] + from_h) * s->in[2] * C;
              float* sums = own + ((block * s->kernel[0] + i) * s->kernel[1] + k) * s->kernel[2] * L;
              switch (s->kernel[2]) {
                case 1: row_for_weight<L, 1>(s, x, g, c, sums); break;
                case 3: row_for_weight<L, 3>(s, x, g, c, sums); break;
                case 5: row_for_weight<L, 5>(s, x, g, c, sums); break;
                default: row_for_weight_of_any_width<L>(s, x, g, c, sums);
              }
            }
          }
        }
      }
    }
    for (Index block = 0; block < blocks; ++block) {
      const Index c = std::min(block * L, C - L);
      for (Index tap = 0; tap < taps; ++tap)
        for (int lane = 0; lane < L; ++lane) {
          float sum = 0.0f;
          for (int thread = 0; thread < threads; ++thread) sum += all[thread * size + (block * taps + tap) * L + lane];
          out[tap * C + c + lane] = sum;
        }
    }
  });
}

}  // extern "C"
