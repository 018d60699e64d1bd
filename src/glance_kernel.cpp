// The arithmetic of a glance (rsd_planner/models/glance.py), one call for each look and judgement.
//
// A judgement is some millions of operations, less than launching two dozen of them costs in a
// tensor library. Knows nothing of Python: rsd_planner/models/glance_kernel.py lays out the weights
// and calls it. All floats are single precision, matrices (in, out) and dense; hidden sizes and the
// numbers of answers are multiples of 16, `rsd_planner.models.glance_kernel` pads what is not.

#include <cmath>
#include <cstdint>
#include <cstring>

// The best instructions that a machine has, chosen when the library is loaded.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define EACH_MACHINE __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define EACH_MACHINE
#endif
#define INLINE static inline __attribute__((always_inline))

namespace {

constexpr int kLanes = 16;
constexpr int kRows = 4;       // judged together: each weight is loaded once for so many
constexpr int kOptions = 4;    // tokens that are told of a place
constexpr int kReserved = 2;   // places before the first token's, see models/pointer.py
constexpr int kNothing = 1;
constexpr int kLargest = 4096; // of a row of intermediate values
constexpr float kNever = -1e30f;
// `since_features` of models/glance.py.
constexpr int kSince = 4;
constexpr float kLongestS = 30.0f, kLongestM = 900.0f;

typedef float Lanes __attribute__((vector_size(4 * kLanes)));
typedef int32_t Whole __attribute__((vector_size(4 * kLanes)));

INLINE Lanes load(const float* from) {
  Lanes lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

INLINE void store(float* to, Lanes lanes) { std::memcpy(to, &lanes, sizeof lanes); }

INLINE Lanes positive(Lanes x) { return x > 0.0f ? x : x - x; }

INLINE void add(float* to, const float* from, int count) {
  for (int at = 0; at < count; at += kLanes) store(to + at, load(to + at) + load(from + at));
}

// out = start + x · w for `rows` rows (at most kRows); `start` is one row for all, or out itself.
template <int rows, int tiles>
INLINE void multiply_tiles(const float* x, int x_step, const float* w, int inner, int width,
                           const float* start, int start_step, float* out, int out_step) {
  Lanes sums[rows][tiles];
  for (int row = 0; row < rows; ++row)
    for (int tile = 0; tile < tiles; ++tile)
      sums[row][tile] = load(start + row * start_step + tile * kLanes);
  for (int at = 0; at < inner; ++at) {
    Lanes weights[tiles];
    for (int tile = 0; tile < tiles; ++tile) weights[tile] = load(w + at * width + tile * kLanes);
    for (int row = 0; row < rows; ++row) {
      const float factor = x[row * x_step + at];
      for (int tile = 0; tile < tiles; ++tile) sums[row][tile] += factor * weights[tile];
    }
  }
  for (int row = 0; row < rows; ++row)
    for (int tile = 0; tile < tiles; ++tile)
      store(out + row * out_step + tile * kLanes, sums[row][tile]);
}

template <int rows>
INLINE void multiply(const float* x, int x_step, const float* w, int inner, int width,
                     const float* start, int start_step, float* out, int out_step) {
  constexpr int tiles = rows > 2 ? 2 : 4;
  int at = 0;
  for (; at + tiles * kLanes <= width; at += tiles * kLanes)
    multiply_tiles<rows, tiles>(x, x_step, w + at, inner, width, start + at, start_step, out + at,
                                out_step);
  for (; at < width; at += kLanes)
    multiply_tiles<rows, 1>(x, x_step, w + at, inner, width, start + at, start_step, out + at,
                            out_step);
}

INLINE void multiply_rows(int rows, const float* x, int x_step, const float* w, int inner,
                          int width, const float* start, int start_step, float* out,
                          int out_step) {
  if (rows == 4) multiply<4>(x, x_step, w, inner, width, start, start_step, out, out_step);
  if (rows == 3) multiply<3>(x, x_step, w, inner, width, start, start_step, out, out_step);
  if (rows == 2) multiply<2>(x, x_step, w, inner, width, start, start_step, out, out_step);
  if (rows == 1) multiply<1>(x, x_step, w, inner, width, start, start_step, out, out_step);
}

INLINE void keep_positive(float* values, int count) {
  for (int at = 0; at < count; at += kLanes) store(values + at, positive(load(values + at)));
}

// e^x for x <= 0, to about 2e-7 of itself.
INLINE Lanes exponential(Lanes x) {
  x = x > -87.0f ? x : x - x - 87.0f;
  const Lanes turns = (x * 1.44269504f + 12582912.0f) - 12582912.0f;  // rounded to the nearest
  Lanes rest = x - turns * 0.693359375f;
  rest = rest + turns * 2.12194440e-4f;
  Lanes sum = rest * 1.98756915e-4f + 1.39819995e-3f;
  sum = sum * rest + 8.33345191e-3f;
  sum = sum * rest + 4.16657961e-2f;
  sum = sum * rest + 1.66666655e-1f;
  sum = sum * rest + 5.00000013e-1f;
  sum = sum * rest * rest + rest + 1.0f;
  const Whole power = (__builtin_convertvector(turns, Whole) + 127) << 23;
  Lanes scale;
  std::memcpy(&scale, &power, sizeof scale);
  return sum * scale;
}

// The likeliest of logits (count,), with their chances; behind them stand `count` to `padded`.
INLINE void choose(float* logits, int count, int padded, int32_t* tokens, float* chances) {
  float best[kOptions];
  int32_t which[kOptions];
  for (int rank = 0; rank < kOptions; ++rank) {
    best[rank] = -INFINITY;
    which[rank] = 0;
  }
  for (int at = 0; at < count; ++at) {
    if (!(logits[at] > best[kOptions - 1])) continue;
    int rank = kOptions - 1;
    for (; rank > 0 && logits[at] > best[rank - 1]; --rank) {
      best[rank] = best[rank - 1];
      which[rank] = which[rank - 1];
    }
    best[rank] = logits[at];
    which[rank] = at;
  }
  for (int at = count; at < padded; ++at) logits[at] = kNever;
  Lanes sums = {};
  for (int at = 0; at < padded; at += kLanes) sums += exponential(load(logits + at) - best[0]);
  float sum = 0.0f;
  for (int lane = 0; lane < kLanes; ++lane) sum += sums[lane];
  for (int rank = 0; rank < kOptions; ++rank) {
    tokens[rank] = which[rank];
    chances[rank] = std::exp(best[rank] - best[0]) / sum;
  }
}

}  // namespace

extern "C" {

int32_t glance_version() { return 1; }  // one more where anything below is called otherwise

// What a network is made of; in the order of glance_kernel.py.
struct Net {
  int32_t size;            // places in the vocabulary
  int32_t answers;         // size + 1, padded
  int32_t hidden;
  int32_t wide;
  int32_t context;         // tokens in front whose order is known
  int32_t longest;         // most tokens of a last text
  int32_t pictures;        // that are looked at
  int32_t picture_tokens;  // of each of them
  int32_t visual_width;
  int32_t squeezed;        // of each picture token …
  int32_t squeezed_width;  // … padded
  int32_t motion_width;
  float epsilon;
  const float* squeeze;       // (visual_width, squeezed_width)
  const float* squeeze_bias;  // (squeezed_width,)
  const float* see;           // (pictures · picture_tokens · squeezed, hidden)
  const float* motion;        // (motion_width, hidden)
  const float* still;         // (hidden,) all constants of a scene
  const float* since;         // (kSince, hidden)
  const float* words;         // (context · size, hidden) the nearest token in front first
  const float* bag;           // (size, hidden) of the new text
  const float* old_bag;       // (size, hidden) of the last one
  const float* pointed;       // (2 · size, hidden)
  const float* widen;         // (hidden, wide)
  const float* widen_bias;    // (wide,)
  const float* narrow;        // (wide, hidden)
  const float* answer;        // (hidden, answers) the vocabulary's, then the pointer's
  const float* answer_bias;   // (answers,)
};

// A tick starts: `text` (old,) is the last one, whose tokens stand since so many seconds and metres.
// Writes what is known at each place of the pointer, `told` (old + 1, hidden). 0 if all is well.
EACH_MACHINE int glance_read(const Net* net, const float* const* pictures, const float* motion,
                             const int32_t* text, int32_t old, const float* since_s,
                             const float* since_m, float* told) {
  const int hidden = net->hidden, width = net->squeezed_width, visual = net->visual_width;
  if (old < 0 || old > net->longest || hidden > kLargest || visual > kLargest ||
      width * kRows > kLargest)
    return -1;
  for (int at = 0; at < old; ++at)
    if (text[at] < 0 || text[at] >= net->size) return -1;
  float scene[kLargest], plain[kRows * kLargest], squeezed[kLargest];
  std::memcpy(scene, net->still, sizeof(float) * hidden);
  multiply<1>(motion, 0, net->motion, net->motion_width, hidden, scene, 0, scene, 0);
  const float* see = net->see;
  for (int picture = 0; picture < net->pictures; ++picture) {
    for (int first = 0; first < net->picture_tokens; first += kRows) {
      const int left = net->picture_tokens - first, rows = left < kRows ? left : kRows;
      for (int row = 0; row < rows; ++row) {
        const float* token = pictures[picture] + (first + row) * visual;
        float mean = 0.0f, square = 0.0f;
        for (int at = 0; at < visual; ++at) mean += token[at];
        mean /= visual;
        for (int at = 0; at < visual; ++at) square += (token[at] - mean) * (token[at] - mean);
        const float scale = 1.0f / std::sqrt(square / visual + net->epsilon);
        for (int at = 0; at < visual; ++at) plain[row * visual + at] = (token[at] - mean) * scale;
      }
      multiply_rows(rows, plain, visual, net->squeeze, visual, width, net->squeeze_bias, 0,
                    squeezed, width);
      for (int row = 0; row < rows; ++row) {
        float* values = squeezed + row * width;
        keep_positive(values, width);
        multiply<1>(values, 0, see, net->squeezed, hidden, scene, 0, scene, 0);
        see += net->squeezed * hidden;
      }
    }
  }
  for (int at = 0; at < old; ++at)
    if (text[at] >= kReserved) add(scene, net->old_bag + text[at] * hidden, hidden);
  for (int at = 0; at <= old; ++at) {
    float* row = told + at * hidden;
    const int here = at < old ? text[at] : kNothing;
    const int behind = at + 1 < old ? text[at + 1] : kNothing;
    // Behind the last text nothing stands, and does so since now: all features are 0.
    const float seconds = at < old ? std::fmin(since_s[at], kLongestS) : 0.0f;
    const float metres = at < old ? std::fmin(since_m[at], kLongestM) : 0.0f;
    const float since[kSince] = {0.5f * seconds, 0.1f * metres, std::log1p(seconds),
                                 std::log1p(metres)};
    multiply<1>(since, 0, net->since, kSince, hidden, scene, 0, row, 0);
    add(row, net->pointed + here * hidden, hidden);
    add(row, net->pointed + (net->size + behind) * hidden, hidden);
  }
  return 0;
}

// Judge what follows `count` ends of texts. `lengths` holds for each the tokens of its text and of
// its guess, `tokens` all of these one after the other, `places` (rows,), guess + 1 for each end,
// where the pointer is. Writes (rows, kOptions) tokens and chances; returns how many rows it judged.
EACH_MACHINE int glance_judge(const Net* net, const float* told, const int32_t* text, int32_t old,
                              int32_t count, const int32_t* lengths, const int32_t* tokens,
                              const int32_t* places, int32_t rows, int32_t* options,
                              float* chances) {
  const int hidden = net->hidden, wide = net->wide, answers = net->answers;
  if (hidden > kLargest || wide > kLargest || answers > kLargest) return -1;
  float said[kLargest], seen[kRows * kLargest], between[kRows * kLargest];
  int32_t pointed[kRows];
  int done = 0, waiting = 0;
  for (int end = 0; end < count; ++end) {
    const int given = lengths[2 * end], length = given + lengths[2 * end + 1];
    std::memset(said, 0, sizeof(float) * hidden);
    for (int at = 0; at <= length; ++at) {
      if (at > 0) {
        if (tokens[at - 1] < 0 || tokens[at - 1] >= net->size) return -1;
        if (tokens[at - 1] >= kReserved) add(said, net->bag + tokens[at - 1] * hidden, hidden);
      }
      if (at < given) continue;
      if (done + waiting >= rows) return -1;
      const int place = places[done + waiting];
      if (place < 0 || place > old) return -1;
      float* row = seen + waiting * hidden;
      std::memcpy(row, told + place * hidden, sizeof(float) * hidden);
      add(row, said, hidden);
      for (int back = 0; back < net->context; ++back) {
        const int token = at > back ? tokens[at - 1 - back] : kNothing;
        add(row, net->words + (back * net->size + token) * hidden, hidden);
      }
      keep_positive(row, hidden);
      pointed[waiting++] = place < old ? text[place] : kNothing;
      const bool is_last = end + 1 == count && at == length;
      if (waiting < kRows && !is_last) continue;
      multiply_rows(waiting, seen, hidden, net->widen, hidden, wide, net->widen_bias, 0, between,
                    wide);
      keep_positive(between, waiting * wide);
      multiply_rows(waiting, between, wide, net->narrow, wide, hidden, seen, hidden, seen, hidden);
      multiply_rows(waiting, seen, hidden, net->answer, hidden, answers, net->answer_bias, 0,
                    between, answers);
      for (int one = 0; one < waiting; ++one, ++done) {
        float* logits = between + one * answers;
        logits[pointed[one]] += logits[net->size];
        choose(logits, net->size, answers, options + done * kOptions, chances + done * kOptions);
      }
      waiting = 0;
    }
    tokens += length;
  }
  return done;
}

}  // extern "C"
