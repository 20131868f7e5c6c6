#include "layer/descriptor.h"

#include <algorithm>
#include <cstring>

#include "codec/crc32c.h"
#include "host/fd.h"

namespace berth::layer {
namespace {

constexpr std::string_view kMagic = "BERTHLYR";
constexpr std::size_t kHashed = 64;
constexpr std::uint64_t kMaxJson = 64u << 10, kMaxFixups = 1u << 30, kMaxCrcs = 1u << 24;

struct Footer {
  std::uint64_t image_bytes = 0, json_bytes = 0, fixup_bytes = 0, crcs = 0;
  std::uint32_t fixups_crc = 0, crcs_crc = 0;
};

Error Corrupt(std::string_view what) { return Error(Reason::kCorrupt, "the descriptor of the layer " + std::string(what)); }

template <class T>
void Put(std::string& out, T value) {
  for (std::size_t i = 0; i < sizeof value; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}
template <class T>
T Take(std::string_view& in) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof value; ++i) value |= static_cast<T>(static_cast<T>(static_cast<unsigned char>(in[i])) << (8 * i));
  in.remove_prefix(sizeof value);
  return value;
}

std::string CrcBytes(const std::vector<std::uint32_t>& crcs) {
  std::string out;
  out.reserve(4 * crcs.size());
  for (const std::uint32_t crc : crcs) Put(out, crc);
  return out;
}

digest::Digest Checksum(std::string_view numbers, std::string_view json) {
  digest::Hasher hasher;
  hasher.Update(bytes::AsView(numbers));
  hasher.Update(bytes::AsView(json));
  return hasher.Finish();
}

Result<Footer> ParseFooter(std::string_view text, std::uint64_t file_bytes) {
  Footer f;
  if (!text.starts_with(kMagic)) return Corrupt("is missing: the file is cut or no layer");
  text.remove_prefix(kMagic.size());
  if (Take<std::uint32_t>(text) != kDescriptorVersion) return Corrupt("has a version that this program does not know");
  bool good = Take<std::uint32_t>(text) == 0;
  f.image_bytes = Take<std::uint64_t>(text);
  f.json_bytes = Take<std::uint64_t>(text);
  f.fixup_bytes = Take<std::uint64_t>(text);
  f.crcs = Take<std::uint64_t>(text);
  f.fixups_crc = Take<std::uint32_t>(text);
  f.crcs_crc = Take<std::uint32_t>(text);
  good = good && Take<std::uint64_t>(text) == 0 && f.image_bytes <= file_bytes && f.json_bytes <= kMaxJson &&
         f.fixup_bytes <= kMaxFixups && f.crcs <= kMaxCrcs;
  if (!good || f.image_bytes + f.json_bytes + f.fixup_bytes + 4 * f.crcs + kFooterBytes != file_bytes) {
    return Corrupt("gives lengths that are not those of the file");
  }
  return f;
}

// `sections`: JSON, fixups, CRCs; with kJson only the first.
Result<Descriptor> Assemble(const Footer& f, std::string_view footer, std::string_view sections, Parts parts) {
  Descriptor d;
  d.image_bytes = f.image_bytes;
  d.json = sections.substr(0, f.json_bytes);
  const digest::Digest sum = Checksum(footer.substr(0, kHashed), d.json);
  if (!std::ranges::equal(sum.raw(), bytes::AsView(footer.substr(kHashed)))) return Corrupt("has a wrong checksum");
  if (parts == Parts::kJson) return d;
  sections.remove_prefix(f.json_bytes);
  d.fixups = sections.substr(0, f.fixup_bytes);
  sections.remove_prefix(f.fixup_bytes);
  if (codec::Crc32c(bytes::AsView(d.fixups)) != f.fixups_crc || codec::Crc32c(bytes::AsView(sections)) != f.crcs_crc) {
    return Corrupt("has a wrong checksum");
  }
  d.crcs.reserve(f.crcs);
  while (!sections.empty()) d.crcs.push_back(Take<std::uint32_t>(sections));
  return d;
}

}  // namespace

std::string EncodeDescriptor(const Descriptor& d) {
  const std::string crcs = CrcBytes(d.crcs);
  std::string footer(kMagic);
  Put(footer, kDescriptorVersion);
  Put(footer, std::uint32_t{0});
  Put(footer, d.image_bytes);
  Put(footer, std::uint64_t{d.json.size()});
  Put(footer, std::uint64_t{d.fixups.size()});
  Put(footer, std::uint64_t{d.crcs.size()});
  Put(footer, codec::Crc32c(bytes::AsView(d.fixups)));
  Put(footer, codec::Crc32c(bytes::AsView(crcs)));
  Put(footer, std::uint64_t{0});
  footer += bytes::AsText(Checksum(footer, d.json).raw());
  return d.json + d.fixups + crcs + footer;
}

Result<Descriptor> DecodeDescriptor(bytes::View file) {
  if (file.size() < kFooterBytes) return Corrupt("is missing: the file is too short");
  const std::string_view footer = bytes::AsText(file.last(kFooterBytes));
  ASSIGN_OR_RETURN(const Footer f, ParseFooter(footer, file.size()));
  const bytes::View sections = file.subspan(f.image_bytes, file.size() - kFooterBytes - f.image_bytes);
  return Assemble(f, footer, bytes::AsText(sections), Parts::kAll);
}

Result<Descriptor> ReadDescriptor(int meta_fd, Parts parts) {
  ASSIGN_OR_RETURN(const host::FileInfo info, host::Stat(meta_fd));
  if (info.size < kFooterBytes) return Corrupt("is missing: the file is too short");
  std::string footer(kFooterBytes, '\0');
  RETURN_IF_ERROR(host::PreadExact(meta_fd, std::as_writable_bytes(std::span(footer)), info.size - kFooterBytes));
  ASSIGN_OR_RETURN(const Footer f, ParseFooter(footer, info.size));
  std::string sections(parts == Parts::kJson ? f.json_bytes : info.size - kFooterBytes - f.image_bytes, '\0');
  RETURN_IF_ERROR(host::PreadExact(meta_fd, std::as_writable_bytes(std::span(sections)), f.image_bytes));
  return Assemble(f, footer, sections, parts);
}

}  // namespace berth::layer
