#include "digest/digest.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "bytes/encoding.h"

namespace berth::digest {
namespace {

struct AlgorithmInfo {
  std::string_view name;
  std::size_t bytes;
  const EVP_MD* (*implementation)();
};

constexpr std::array kInfos{
    AlgorithmInfo{"sha256", 32, EVP_sha256},
    AlgorithmInfo{"sha384", 48, EVP_sha384},
    AlgorithmInfo{"sha512", 64, EVP_sha512},
};

const AlgorithmInfo& Info(Algorithm algorithm) { return kInfos[static_cast<std::size_t>(algorithm)]; }

// The provider look-up behind EVP_sha256() takes locks at every init; fetched methods skip it.
const EVP_MD* Implementation(Algorithm algorithm) {
  static const auto kFetched = [] {
    std::array<const EVP_MD*, kInfos.size()> out{};
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] = EVP_MD_fetch(nullptr, kInfos[i].name.data(), nullptr);
      if (out[i] == nullptr) out[i] = kInfos[i].implementation();
    }
    return out;
  }();
  return kFetched[static_cast<std::size_t>(algorithm)];
}

bool IsLowerAlnum(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool IsSeparator(char c) { return c == '.' || c == '+' || c == '_' || c == '-'; }
bool IsEncoded(char c) { return IsLowerAlnum(c) || (c >= 'A' && c <= 'Z') || c == '=' || c == '_' || c == '-'; }

// [a-z0-9]+([.+_-][a-z0-9]+)*
bool IsAlgorithmName(std::string_view s) {
  bool after_alnum = false;
  for (const char c : s) {
    if (IsLowerAlnum(c)) {
      after_alnum = true;
    } else if (IsSeparator(c) && after_alnum) {
      after_alnum = false;
    } else {
      return false;
    }
  }
  return after_alnum;
}

Error BadFormat() { return Error(Reason::kInvalidDigest, "invalid checksum digest format"); }

}  // namespace

std::string_view Name(Algorithm algorithm) { return Info(algorithm).name; }
std::size_t ByteLength(Algorithm algorithm) { return Info(algorithm).bytes; }

Result<Digest> Digest::Parse(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return BadFormat();
  const std::string_view name = text.substr(0, colon), encoded = text.substr(colon + 1);
  if (!IsAlgorithmName(name) || encoded.empty() || !std::all_of(encoded.begin(), encoded.end(), IsEncoded)) {
    return BadFormat();
  }
  const auto info =
      std::find_if(kInfos.begin(), kInfos.end(), [&](const auto& a) { return a.name == name; });
  if (info == kInfos.end()) return Error(Reason::kInvalidDigest, "unsupported digest algorithm");
  if (encoded.size() != info->bytes * 2) return Error(Reason::kInvalidDigest, "invalid checksum digest length");
  const std::optional<std::string> raw = bytes::FromHex(encoded);
  if (!raw) return BadFormat();
  return FromRaw(static_cast<Algorithm>(info - kInfos.begin()), bytes::AsView(*raw));
}

Digest Digest::FromRaw(Algorithm algorithm, bytes::View raw) {
  BERTH_CHECK(raw.size() == ByteLength(algorithm));
  Digest out;
  out.algorithm_ = algorithm;
  std::copy(raw.begin(), raw.end(), out.raw_.begin());
  return out;
}

Digest Digest::Of(bytes::View data, Algorithm algorithm) {
  Hasher hasher(algorithm);
  hasher.Update(data);
  return hasher.Finish();
}

std::string Digest::Hex() const { return bytes::ToHex(raw()); }
std::string Digest::ToString() const { return std::string(Name(algorithm_)) + ':' + Hex(); }
std::string Digest::Short() const { return bytes::ToHex(raw().first(6)); }

struct Hasher::State {
  Algorithm algorithm;
  EVP_MD_CTX* context;
  bool finished = false;

  explicit State(Algorithm a) : algorithm(a), context(EVP_MD_CTX_new()) {
    BERTH_CHECK(context != nullptr);
    BERTH_CHECK(EVP_DigestInit_ex(context, Implementation(a), nullptr) == 1);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { EVP_MD_CTX_free(context); }
};

Hasher::Hasher(Algorithm algorithm) : state_(std::make_unique<State>(algorithm)) {}
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;
Hasher::~Hasher() = default;

void Hasher::Update(bytes::View data) {
  BERTH_CHECK(state_ != nullptr && !state_->finished);
  BERTH_CHECK(EVP_DigestUpdate(state_->context, data.data(), data.size()) == 1);
}

Digest Hasher::Finish() {
  BERTH_CHECK(state_ != nullptr && !state_->finished);
  state_->finished = true;
  std::array<std::byte, EVP_MAX_MD_SIZE> out;
  unsigned int length = 0;
  BERTH_CHECK(EVP_DigestFinal_ex(state_->context, reinterpret_cast<unsigned char*>(out.data()), &length) == 1);
  return Digest::FromRaw(state_->algorithm, bytes::View(out.data(), length));
}

}  // namespace berth::digest

std::size_t std::hash<berth::digest::Digest>::operator()(const berth::digest::Digest& d) const noexcept {
  // Manifests choose the digests they name: without a secret seed, and with only the first bytes looked at, a
  // document could put all of its entries into one bucket.
  static const std::uint64_t kSeed = [] {
    std::random_device device;
    return (std::uint64_t{device()} << 32) | device();
  }();
  std::uint64_t h = kSeed ^ static_cast<std::uint64_t>(d.algorithm());
  const berth::bytes::View raw = d.raw();
  for (std::size_t at = 0; at < raw.size(); at += sizeof(std::uint64_t)) {
    std::uint64_t word;
    std::memcpy(&word, raw.data() + at, sizeof word);
    h = (h ^ word) * 0x9E3779B97F4A7C15u;
    h ^= h >> 29;
  }
  return h;
}
