// The arithmetic of a glance (rsd_planner/models/glance.py), one call for each look and judgement.
//
// A judgement is some millions of operations, less than launching two dozen of them costs in a
// tensor library. Knows nothing of Python: rsd_planner/models/glance_kernel.py lays out the weights
// and calls it. All floats are single precision, matrices (in, out) and dense; hidden sizes and the
// numbers of answers are multiples of 16, `rsd_planner.models.glance_kernel` pads what is not.
// Templates count lanes: as many as the machine's vectors hold, chosen when a function is called.

#include <cmath>
#include <cstdint>
#include <cstring>

#define INLINE static inline __attribute__((always_inline))

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

namespace {

constexpr int kRows = 4;        // judged together: each weight is loaded once for so many
constexpr int kOptions = 4;     // tokens that are told of a place
constexpr int kReserved = 2;    // places before the first token's, see models/pointer.py
constexpr int kNothing = 1;     // the place that stands for no token
constexpr int kLargest = 4096;  // of a row of intermediate values
constexpr float kNever = -1e30f;
// `since_features` of models/glance.py.
constexpr int kSince = 4;
constexpr float kLongestS = 30.0f, kLongestM = 900.0f;

template <int lanes>
struct Vector {
  typedef float Floats __attribute__((vector_size(4 * lanes)));
  typedef int32_t Whole __attribute__((vector_size(4 * lanes)));
};

template <int lanes>
using Floats = typename Vector<lanes>::Floats;

template <int lanes>
INLINE Floats<lanes> load(const float* from) {
  Floats<lanes> values;
  std::memcpy(&values, from, sizeof values);
  return values;
}

template <int lanes>
INLINE void store(float* to, Floats<lanes> values) {
  std::memcpy(to, &values, sizeof values);
}

template <int lanes>
INLINE void add(float* to, const float* from, int count) {
  for (int at = 0; at < count; at += lanes)
    store<lanes>(to + at, load<lanes>(to + at) + load<lanes>(from + at));
}

template <int lanes>
INLINE void keep_positive(float* values, int count) {
  for (int at = 0; at < count; at += lanes) {
    const Floats<lanes> x = load<lanes>(values + at);
    store<lanes>(values + at, x > 0.0f ? x : x - x);  // what is no number stays none
  }
}

// out = start + x · w for some rows; a step is from row to row, 0 where one row stands for all.
// `start` may be `out`.
template <int lanes, int rows, int tiles>
INLINE void multiply_tiles(const float* x, int x_step, const float* w, int inner, int width,
                           const float* start, int start_step, float* out, int out_step) {
  Floats<lanes> sums[rows][tiles];
  for (int row = 0; row < rows; ++row)
    for (int tile = 0; tile < tiles; ++tile)
      sums[row][tile] = load<lanes>(start + row * start_step + tile * lanes);
  for (int at = 0; at < inner; ++at) {
    Floats<lanes> weights[tiles];
    for (int tile = 0; tile < tiles; ++tile)
      weights[tile] = load<lanes>(w + at * width + tile * lanes);
    for (int row = 0; row < rows; ++row) {
      const float factor = x[row * x_step + at];
      for (int tile = 0; tile < tiles; ++tile) sums[row][tile] += factor * weights[tile];
    }
  }
  for (int row = 0; row < rows; ++row)
    for (int tile = 0; tile < tiles; ++tile)
      store<lanes>(out + row * out_step + tile * lanes, sums[row][tile]);
}

template <int lanes, int rows>
INLINE void multiply(const float* x, int x_step, const float* w, int inner, int width,
                     const float* start, int start_step, float* out, int out_step) {
  constexpr int tiles = rows > 2 ? 2 : 4;
  int at = 0;
  for (; at + tiles * lanes <= width; at += tiles * lanes)
    multiply_tiles<lanes, rows, tiles>(x, x_step, w + at, inner, width, start + at, start_step,
                                       out + at, out_step);
  for (; at < width; at += lanes)
    multiply_tiles<lanes, rows, 1>(x, x_step, w + at, inner, width, start + at, start_step,
                                   out + at, out_step);
}

template <int lanes>
INLINE void multiply_rows(int rows, const float* x, int x_step, const float* w, int inner,
                          int width, const float* start, int start_step, float* out,
                          int out_step) {
  if (rows == 4) multiply<lanes, 4>(x, x_step, w, inner, width, start, start_step, out, out_step);
  if (rows == 3) multiply<lanes, 3>(x, x_step, w, inner, width, start, start_step, out, out_step);
  if (rows == 2) multiply<lanes, 2>(x, x_step, w, inner, width, start, start_step, out, out_step);
  if (rows == 1) multiply<lanes, 1>(x, x_step, w, inner, width, start, start_step, out, out_step);
}

// e^x for x <= 0, to about 2e-7 of itself.
template <int lanes>
INLINE Floats<lanes> exponential(Floats<lanes> x) {
  x = x > -87.0f ? x : x - x - 87.0f;
  const Floats<lanes> turns = (x * 1.44269504f + 12582912.0f) - 12582912.0f;  // the nearest whole
  Floats<lanes> rest = x - turns * 0.693359375f;
  rest = rest + turns * 2.12194440e-4f;
  Floats<lanes> sum = rest * 1.98756915e-4f + 1.39819995e-3f;
  sum = sum * rest + 8.33345191e-3f;
  sum = sum * rest + 4.16657961e-2f;
  sum = sum * rest + 1.66666655e-1f;
  sum = sum * rest + 5.00000013e-1f;
  sum = sum * rest * rest + rest + 1.0f;
  typedef typename Vector<lanes>::Whole Whole;
  const Whole power = (__builtin_convertvector(turns, Whole) + 127) << 23;
  Floats<lanes> scale;
  std::memcpy(&scale, &power, sizeof scale);
  return sum * scale;
}

// The likeliest of logits (count,), with their chances; behind them stand `count` to `padded`.
template <int lanes>
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
  Floats<lanes> sums = {};
  for (int at = 0; at < padded; at += lanes)
    sums += exponential<lanes>(load<lanes>(logits + at) - best[0]);
  float sum = 0.0f;
  for (int lane = 0; lane < lanes; ++lane) sum += sums[lane];
  for (int rank = 0; rank < kOptions; ++rank) {
    tokens[rank] = which[rank];
    chances[rank] = std::exp(best[rank] - best[0]) / sum;
  }
}

struct Look {
  const Net* net;
  const float* const* pictures;
  const float* motion;
  const int32_t* text;
  int32_t old;
  const float *since_s, *since_m;
  float* told;
};

struct Question {
  const Net* net;
  const float* told;
  const int32_t* text;
  int32_t old;
  int32_t count;
  const int32_t *lengths, *tokens, *places;
  int32_t rows;
  int32_t* options;
  float* chances;
};

// A visual token less its mean, of variance 1; a layer norm's factors are folded into what follows.
INLINE void normalise(const float* token, int width, float epsilon, float* out) {
  float mean = 0.0f, square = 0.0f;
  for (int at = 0; at < width; ++at) mean += token[at];
  mean /= width;
  for (int at = 0; at < width; ++at) square += (token[at] - mean) * (token[at] - mean);
  const float scale = 1.0f / std::sqrt(square / width + epsilon);
  for (int at = 0; at < width; ++at) out[at] = (token[at] - mean) * scale;
}

// Add what the pictures say to a scene (hidden,).
template <int lanes>
INLINE void see(const Net* net, const float* const* pictures, float* scene) {
  const int hidden = net->hidden, width = net->squeezed_width, visual = net->visual_width;
  float plain[kRows * kLargest], squeezed[kLargest];
  const float* weights = net->see;
  for (int picture = 0; picture < net->pictures; ++picture) {
    for (int first = 0; first < net->picture_tokens; first += kRows) {
      const int left = net->picture_tokens - first, rows = left < kRows ? left : kRows;
      for (int row = 0; row < rows; ++row)
        normalise(pictures[picture] + (first + row) * visual, visual, net->epsilon,
                  plain + row * visual);
      multiply_rows<lanes>(rows, plain, visual, net->squeeze, visual, width, net->squeeze_bias, 0,
                           squeezed, width);
      keep_positive<lanes>(squeezed, rows * width);
      for (int row = 0; row < rows; ++row) {
        multiply<lanes, 1>(squeezed + row * width, 0, weights, net->squeezed, hidden, scene, 0,
                           scene, 0);
        weights += net->squeezed * hidden;
      }
    }
  }
}

template <int lanes>
INLINE int read(const Look& look) {
  const Net* net = look.net;
  const int hidden = net->hidden, old = look.old;
  if (old < 0 || old > net->longest || hidden > kLargest || net->visual_width > kLargest ||
      net->squeezed_width * kRows > kLargest)
    return -1;
  for (int at = 0; at < old; ++at)
    if (look.text[at] < 0 || look.text[at] >= net->size) return -1;
  float scene[kLargest];
  multiply<lanes, 1>(look.motion, 0, net->motion, net->motion_width, hidden, net->still, 0, scene,
                     0);
  see<lanes>(net, look.pictures, scene);
  for (int at = 0; at < old; ++at)
    if (look.text[at] >= kReserved)
      add<lanes>(scene, net->old_bag + look.text[at] * hidden, hidden);
  for (int at = 0; at <= old; ++at) {
    float* row = look.told + at * hidden;
    const int here = at < old ? look.text[at] : kNothing;
    const int behind = at + 1 < old ? look.text[at + 1] : kNothing;
    // Behind the last text nothing stands, and does so since now: all features are 0.
    const float seconds = at < old ? std::fmin(look.since_s[at], kLongestS) : 0.0f;
    const float metres = at < old ? std::fmin(look.since_m[at], kLongestM) : 0.0f;
    const float since[kSince] = {0.5f * seconds, 0.1f * metres, std::log1p(seconds),
                                 std::log1p(metres)};
    multiply<lanes, 1>(since, 0, net->since, kSince, hidden, scene, 0, row, 0);
    add<lanes>(row, net->pointed + here * hidden, hidden);
    add<lanes>(row, net->pointed + (net->size + behind) * hidden, hidden);
  }
  return 0;
}

// Judge rows of states (rows, hidden), at most kRows, whose pointers are at `pointed`.
template <int lanes>
INLINE void answer(const Net* net, int rows, float* seen, const int32_t* pointed,
                   int32_t* options, float* chances) {
  const int hidden = net->hidden, wide = net->wide, answers = net->answers;
  float between[kRows * kLargest];
  multiply_rows<lanes>(rows, seen, hidden, net->widen, hidden, wide, net->widen_bias, 0, between,
                       wide);
  keep_positive<lanes>(between, rows * wide);
  multiply_rows<lanes>(rows, between, wide, net->narrow, wide, hidden, seen, hidden, seen, hidden);
  multiply_rows<lanes>(rows, seen, hidden, net->answer, hidden, answers, net->answer_bias, 0,
                       between, answers);
  for (int row = 0; row < rows; ++row) {
    float* logits = between + row * answers;
    logits[pointed[row]] += logits[net->size];
    choose<lanes>(logits, net->size, answers, options + row * kOptions, chances + row * kOptions);
  }
}

template <int lanes>
INLINE int judge(const Question& asked) {
  const Net* net = asked.net;
  const int hidden = net->hidden;
  if (hidden > kLargest || net->wide > kLargest || net->answers > kLargest) return -1;
  float said[kLargest], seen[kRows * kLargest];  // the bag of a text; states that wait
  int32_t pointed[kRows];
  int done = 0, waiting = 0;
  const int32_t* tokens = asked.tokens;
  for (int end = 0; end < asked.count; ++end) {
    const int given = asked.lengths[2 * end], length = given + asked.lengths[2 * end + 1];
    std::memset(said, 0, sizeof(float) * hidden);
    for (int at = 0; at <= length; ++at) {
      if (at > 0) {
        const int token = tokens[at - 1];
        if (token < 0 || token >= net->size) return -1;
        if (token >= kReserved) add<lanes>(said, net->bag + token * hidden, hidden);
      }
      if (at < given) continue;
      if (done + waiting >= asked.rows) return -1;
      const int place = asked.places[done + waiting];
      if (place < 0 || place > asked.old) return -1;
      float* row = seen + waiting * hidden;
      std::memcpy(row, asked.told + place * hidden, sizeof(float) * hidden);
      add<lanes>(row, said, hidden);
      for (int back = 0; back < net->context; ++back) {
        const int token = at > back ? tokens[at - 1 - back] : kNothing;
        add<lanes>(row, net->words + (back * net->size + token) * hidden, hidden);
      }
      keep_positive<lanes>(row, hidden);
      pointed[waiting++] = place < asked.old ? asked.text[place] : kNothing;
      const bool is_last = end + 1 == asked.count && at == length;
      if (waiting < kRows && !is_last) continue;
      answer<lanes>(net, waiting, seen, pointed, asked.options + done * kOptions,
                    asked.chances + done * kOptions);
      done += waiting;
      waiting = 0;
    }
    tokens += length;
  }
  return done;
}

#if defined(__x86_64__)
#define WIDE __attribute__((target("avx2,fma")))
#define WIDEST __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")))

int widest() {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 4;
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                 __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw")
             ? 16
             : 8;
}
#else
#define WIDE
#define WIDEST

int widest() { return 4; }
#endif

WIDE int read_by_8(const Look& look) { return read<8>(look); }
WIDE int judge_by_8(const Question& asked) { return judge<8>(asked); }
WIDEST int read_by_16(const Look& look) { return read<16>(look); }
WIDEST int judge_by_16(const Question& asked) { return judge<16>(asked); }

int lanes_used = widest();

}  // namespace

extern "C" {

int32_t glance_version() { return 1; }  // one more where anything below is called otherwise

// Use vectors of at most so many lanes from now on; how many it will be. Where nobody asks, it is as
// many as the machine has.
int32_t glance_lanes(int32_t most) {
  lanes_used = widest();
  while (lanes_used > 4 && lanes_used > most) lanes_used /= 2;
  return lanes_used;
}

// A tick starts: `text` (old,) is the last one, whose tokens stand since so many seconds and
// metres. Writes what is known at each place of the pointer, `told` (old + 1, hidden). 0 if all
// is well.
int32_t glance_read(const Net* net, const float* const* pictures, const float* motion,
                    const int32_t* text, int32_t old, const float* since_s, const float* since_m,
                    float* told) {
  const Look look{net, pictures, motion, text, old, since_s, since_m, told};
  if (lanes_used == 16) return read_by_16(look);
  return lanes_used == 8 ? read_by_8(look) : read<4>(look);
}

// Judge what follows `count` ends of texts. `lengths` holds for each the tokens of its text and of
// its guess, `tokens` all of these one after the other, `places` (rows,), guess + 1 for each end,
// where the pointer is. Writes (rows, kOptions) tokens and chances; returns how many it judged.
int32_t glance_judge(const Net* net, const float* told, const int32_t* text, int32_t old,
                     int32_t count, const int32_t* lengths, const int32_t* tokens,
                     const int32_t* places, int32_t rows, int32_t* options, float* chances) {
  const Question asked{net,    told,   text, old,     count,  lengths,
                       tokens, places, rows, options, chances};
  if (lanes_used == 16) return judge_by_16(asked);
  return lanes_used == 8 ? judge_by_8(asked) : judge<4>(asked);
}

}  // extern "C"
