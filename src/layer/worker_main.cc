#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <exception>
#include <mutex>
#include <new>

#include "bytes/encoding.h"
#include "codec/crc32c.h"
#include "erofs/reader.h"
#include "host/fd.h"
#include "host/sandbox.h"
#include "json/document.h"
#include "layer/descriptor.h"
#include "layer/exit_status.h"
#include "layer/fit.h"
#include "layer/tree_writer.h"
#include "layer/unpacker.h"
#include "layer/worker.h"

namespace berth::layer {
namespace {

constexpr std::size_t kOptionBytes = 1u << 20;
constexpr int kAnswerFd = 1, kDataFd = 4, kMetaFd = 5, kFirstFitFd = 4;
constexpr std::uint32_t kNobody = 65534;

// The answer is given once, by whichever thread has it first.
class Answer {
 public:
  void Give(const std::string& json) {
    const std::lock_guard lock(mutex_);
    if (std::exchange(given_, true)) return;
    if (auto written = host::WriteAll(kAnswerFd, bytes::AsView(json)); !written) _exit(kAnswerLost);
  }
  void Give(const Error& error) {
    json::Writer w;
    w.BeginObject().Key("error").BeginObject().Key("code").String(error.info().code).Key("text").String(error.Text());
    w.EndObject().EndObject();
    Give(w.text());
  }

 private:
  std::mutex mutex_;
  bool given_ = false;
};

Result<std::string> ReadOptions() {
  std::string text(kOptionBytes, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    ASSIGN_OR_RETURN(const std::size_t got, host::ReadSome(0, std::as_writable_bytes(std::span(text)).subspan(size)));
    if (got == 0) break;
    size += got;
  }
  text.resize(size);
  return text;
}

Result<host::JailReport> EnterJail(const UnpackOptions& options, std::vector<int> fds, bool tree) {
  fds.push_back(kAnswerFd);
  host::JailSpec spec{.profile = tree ? host::JailProfile::kTree : host::JailProfile::kStream, .keep_fds = std::move(fds)};
  if (tree) {
    spec.root_fd = kDataFd;
    spec.device_nodes = options.build.char_devices || options.build.block_devices;
  } else if (geteuid() == 0) {
    spec.identity = host::Identity{kNobody, kNobody};
  }
#ifndef BERTH_SANITIZED  // whose shadow memory is terabytes of address space
  spec.max_memory_bytes = options.MemoryLimit();
#endif
  return host::EnterUnpackJail(spec);
}

// The jail and nothing else: what it is on this machine.
Result<std::string> DoTry(const UnpackOptions& options) {
  ASSIGN_OR_RETURN(const host::JailReport report, EnterJail(options, {kDataFd}, options.form == Form::kTree));
  json::Writer w;
  w.BeginObject().Key("jail").String(report.Text()).EndObject();
  return std::move(w).Take();
}

Result<std::string> DoUnpack(const UnpackOptions& options, Answer& answer) {
  const bool tree = options.form == Form::kTree;
  const auto& [memory, lengths, freed] = kChannelFds;
  ASSIGN_OR_RETURN(host::ChannelReader input, host::ChannelReader::Open(memory, lengths, freed));  // its descriptor stays outside the jail
  ASSIGN_OR_RETURN([[maybe_unused]] const auto jail, EnterJail(options, {lengths, freed, kDataFd, kMetaFd}, tree));
  Marks marks;
  auto report = UnpackStream(input, kDataFd, kMetaFd, options, [&](const Error& error) {
    answer.Give(error);
    _exit(1);  // the other thread may wait for input that never comes
  }, &marks);
  if (!report) return std::move(report).error();
  json::Writer w;
  w.BeginObject().Key("report").Raw(report->ToJson());
  for (const auto& [key, paths] : {std::pair("opaque", &marks.opaque), std::pair("origin", &marks.origin)}) {
    w.Key(key).BeginArray();
    for (const std::string& path : *paths) w.String(bytes::ToHex(bytes::AsView(path)));
    w.EndArray();
  }
  w.EndObject();
  return std::move(w).Take();
}

struct Layer {
  digest::Digest blob;
  int meta_fd = -1, variant_fd = -1;
  UnpackReport report;
  erofs::Tree tree;  // as mounted in this image
  std::vector<std::uint32_t> devices;
};

Result<> Load(Layer& layer, Fixups& fixups) {
  ASSIGN_OR_RETURN(const host::FileInfo info, host::Stat(layer.meta_fd));
  std::vector<std::byte> file(info.size);
  RETURN_IF_ERROR(host::PreadExact(layer.meta_fd, file, 0));
  ASSIGN_OR_RETURN(const Descriptor descriptor, DecodeDescriptor(file));
  ASSIGN_OR_RETURN(layer.report, UnpackReport::FromJson(descriptor.json));
  if (layer.report.blob != layer.blob) return Error(Reason::kCorrupt, "the metadata of the layer belongs to another layer");
  // Nothing may be made from damaged metadata that their reader has no way to notice.
  if (codec::Crc32c(bytes::View(file).first(descriptor.image_bytes)) != layer.report.image_crc32c)
    return Error(Reason::kCorrupt, "the metadata of the layer is damaged: its checksum is wrong");
  ASSIGN_OR_RETURN(erofs::ReadImage image, erofs::ReadMetadata(file));
  layer.tree = std::move(image.tree);
  ASSIGN_OR_RETURN(fixups, DecodeFixups(bytes::AsView(descriptor.fixups), layer.tree));
  return {};
}

Result<> WriteVariant(Layer& layer, Fitted fitted, std::span<const Layer> layers) {
  layer.tree = std::move(fitted.tree);
  layer.devices = std::move(fitted.devices);
  if (layer.report.data_bytes == 0) {  // a device without blocks is none
    layer.devices.erase(layer.devices.begin());
    for (erofs::Node& n : layer.tree.nodes) n.device = static_cast<std::uint16_t>(n.device - (n.device > 0));
  }
  VariantReport report{.blob = layer.blob};
  std::vector<std::uint64_t> device_bytes;
  for (const std::uint32_t device : layer.devices) {
    report.devices.push_back(layers[device].blob);
    device_bytes.push_back(layers[device].report.data_bytes);
  }
  ASSIGN_OR_RETURN(const std::vector<std::byte> image,
                   MakeImage(layer.tree, erofs::ChildrenByName(layer.tree), layer.blob, std::move(device_bytes)));
  report.image_bytes = image.size();
  report.image_crc32c = codec::Crc32c(image);
  const std::string tail = EncodeDescriptor({report.ToJson(), {}, {}, image.size()});
  return host::PwritevAll(layer.variant_fd, std::array{bytes::View(image), bytes::AsView(tail)}, 0);
}

Result<std::string> DoFit(const UnpackOptions& options, const json::Value& list) {
  std::vector<Layer> layers(list.size());
  std::vector<int> fds;
  int next = kFirstFitFd;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    ASSIGN_OR_RETURN(const json::Value blob, list.at(i).Get("blob"));
    ASSIGN_OR_RETURN(const std::string_view text, blob.AsString());
    ASSIGN_OR_RETURN(layers[i].blob, digest::Digest::Parse(text));
    ASSIGN_OR_RETURN(const json::Value variant, list.at(i).Get("variant"));
    ASSIGN_OR_RETURN(const bool wanted, variant.AsBool());
    fds.push_back(layers[i].meta_fd = next++);
    if (wanted) fds.push_back(layers[i].variant_fd = next++);
  }
  ASSIGN_OR_RETURN([[maybe_unused]] const auto jail, EnterJail(options, std::move(fds), /*tree=*/false));
  json::Writer w;
  w.BeginObject().Key("variants").BeginArray();
  for (std::uint32_t i = 0; i < layers.size(); ++i) {
    Layer& layer = layers[i];
    const auto fit = [&]() -> Result<bool> {
      Fixups fixups;
      RETURN_IF_ERROR(Load(layer, fixups));
      if (layer.report.data_bytes > 0) layer.devices = {i};
      if (layer.variant_fd < 0) return false;
      std::vector<LowerTree> lowers;
      for (std::uint32_t below = i; below-- > 0;) lowers.push_back({&layers[below].tree, layers[below].devices});
      ASSIGN_OR_RETURN(std::optional<Fitted> fitted, Fit(layer.tree, i, fixups, lowers));
      if (!fitted) return false;
      if (layer.report.form == Form::kTree) {
        // There is one folder for all images, so it cannot be another one in this image.
        if (fitted->only_times) return false;
        return Error(Reason::kUnsupported, "its links and unlisted directories depend on the layers below it, which its tree form cannot show")
            .Next("use a kernel with EROFS");
      }
      for (const std::uint32_t device : fitted->devices) {
        if (layers[device].report.form != Form::kErofs) return Error(Reason::kUnsupported, "it links to files of a layer in tree form");
      }
      RETURN_IF_ERROR(WriteVariant(layer, std::move(*fitted), layers));
      return true;
    };
    Result<bool> written = fit();
    if (!written) return std::move(written).error().Context("layer " + std::to_string(i + 1) + " of " + std::to_string(layers.size()));
    w.Bool(*written);
  }
  w.EndArray().EndObject();
  return std::move(w).Take();
}

Result<std::string> Work(Answer& answer) {
  ASSIGN_OR_RETURN(const std::string text, ReadOptions());
  ASSIGN_OR_RETURN(const json::Document document, json::Document::Parse(text, Reason::kInternal));
  const json::Value root = document.root();
  ASSIGN_OR_RETURN(const json::Value mode, root.Get("mode"));
  ASSIGN_OR_RETURN(const json::Value options_value, root.Get("options"));
  ASSIGN_OR_RETURN(const UnpackOptions options, UnpackOptions::FromJson(options_value.Dump()));
  ASSIGN_OR_RETURN(const std::string_view name, mode.AsString());
  Prewarm();
  if (name == "unpack") return DoUnpack(options, answer);
  if (name == "try") return DoTry(options);
  if (name != "fit") return Error(Reason::kInternal, "the unpack worker does not know what to do");
  ASSIGN_OR_RETURN(const json::Value layers, root.Get("layers"));
  return DoFit(options, layers);
}

}  // namespace

int WorkerMain() {
  umask(0);
  std::signal(SIGPIPE, SIG_IGN);
  Answer answer;
  const auto result = [&]() -> Result<std::string> {
    try {
      return Work(answer);
    } catch (const std::bad_alloc&) {
      return Error(Reason::kLimitExceeded, "the unpack worker reached its memory limit");
    } catch (const std::exception&) {
      return Error(Reason::kInternal, "the unpack worker failed in a way that it did not foresee");
    }
  }();
  if (result) {
    answer.Give(*result);
  } else {
    answer.Give(result.error());
  }
  // Nothing is left to do that could go wrong: no destructors, no handlers.
  _exit(result ? 0 : 1);
}

}  // namespace berth::layer
