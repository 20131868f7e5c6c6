#include "config/daemon_config.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <functional>
#include <limits>

#include "bytes/text.h"
#include "config/reader.h"
#include "host/dir.h"
#include "host/listen.h"

namespace berth::config {
namespace {

using Values = std::vector<std::string>;

struct Setting {
  std::string_view key;
  std::string_view doc;
  bool limit = false;  // belongs to the limits of reliability-security 5.12
  bool list = false;
  std::function<Result<>(DaemonConfig&, const Values&)> set;
  std::function<Values(const DaemonConfig&)> get;
};

Error Wrong(const std::string& value, std::string_view wanted) {
  return Error(Reason::kConfig, Quoted(value) + " is not " + std::string(wanted));
}

struct Unit { std::string_view suffix; std::uint64_t factor; };
constexpr Unit kSizes[] = {{"Ti", 1ull << 40}, {"Gi", 1ull << 30}, {"Mi", 1ull << 20}, {"Ki", 1ull << 10}, {"", 1}};
constexpr Unit kDurations[] = {{"ms", 1'000'000}, {"s", 1'000'000'000}, {"m", 60'000'000'000}, {"h", 3'600'000'000'000}};

// A whole number with one of the units; the wanted form goes into the error.
Result<std::uint64_t> WithUnit(const std::string& text, std::span<const Unit> units, std::string_view wanted) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view suffix(end, static_cast<std::size_t>(text.data() + text.size() - end));
  const auto unit = std::ranges::find(units, suffix, &Unit::suffix);
  if (error != std::errc() || unit == units.end() || number > std::numeric_limits<std::int64_t>::max() / unit->factor)
    return Wrong(text, wanted);
  return number * unit->factor;
}

std::string PrintSize(std::uint64_t bytes) {
  for (const auto& [suffix, factor] : kSizes)
    if (bytes >= factor && bytes % factor == 0) return std::to_string(bytes / factor) + std::string(suffix);
  return std::to_string(bytes);
}
std::string PrintDuration(time::Duration d) {
  const auto nanos = static_cast<std::uint64_t>(d.count());
  for (auto unit = std::rbegin(kDurations); unit != std::rend(kDurations); ++unit)
    if (nanos >= unit->factor && nanos % unit->factor == 0) return std::to_string(nanos / unit->factor) + std::string(unit->suffix);
  return std::to_string(nanos / 1'000'000) + "ms";
}

// Makers of rows: `at` finds the member in a DaemonConfig.
template <class At>
Setting Text(std::string_view key, std::string_view doc, At at) {
  return {key, doc, false, false, [at](DaemonConfig& c, const Values& v) -> Result<> { at(c) = v[0]; return {}; },
          [at](const DaemonConfig& c) -> Values { return {at(const_cast<DaemonConfig&>(c))}; }};
}
template <class At>
Setting List(std::string_view key, std::string_view doc, At at) {
  return {key, doc, false, true, [at](DaemonConfig& c, const Values& v) -> Result<> { at(c) = v; return {}; },
          [at](const DaemonConfig& c) -> Values { return at(const_cast<DaemonConfig&>(c)); }};
}
template <class At>
Setting Size(std::string_view key, std::string_view doc, At at, bool limit = true, std::uint64_t least = 1) {
  return {key, doc, limit, false,
          [at, least](DaemonConfig& c, const Values& v) -> Result<> {
            ASSIGN_OR_RETURN(const std::uint64_t number, WithUnit(v[0], kSizes, "a whole number, with Ki, Mi, Gi or Ti if you like"));
            if (number < least) return Wrong(v[0], "at least " + std::to_string(least));
            auto& member = at(c);
            if (number > std::numeric_limits<std::remove_reference_t<decltype(member)>>::max()) return Wrong(v[0], "small enough");
            member = static_cast<std::remove_reference_t<decltype(member)>>(number);
            return {};
          },
          [at](const DaemonConfig& c) -> Values { return {PrintSize(static_cast<std::uint64_t>(at(const_cast<DaemonConfig&>(c))))}; }};
}
// Now and three times this fit into a clock (64 bits of nanoseconds are 292 years): a wait that overflows ends at once.
constexpr time::Duration kLongest = std::chrono::hours(800'000);
template <class At>
Setting Time(std::string_view key, std::string_view doc, At at, bool limit = false, time::Duration least = {}) {
  return {key, doc, limit, false,
          [at, limit, least](DaemonConfig& c, const Values& v) -> Result<> {
            ASSIGN_OR_RETURN(const std::uint64_t nanos, WithUnit(v[0], kDurations, "a duration such as 500ms, 10s, 5m or 72h"));
            if (limit && nanos == 0) return Wrong(v[0], "longer than nothing: no limit can be switched off");
            const time::Duration duration(static_cast<std::int64_t>(nanos));
            if (duration < least) return Wrong(v[0], "at least " + PrintDuration(least));
            if (duration > kLongest) return Wrong(v[0], "at most " + PrintDuration(kLongest));
            at(c) = duration;
            return {};
          },
          [at](const DaemonConfig& c) -> Values { return {PrintDuration(at(const_cast<DaemonConfig&>(c)))}; }};
}
template <class At, class T>
Setting Choice(std::string_view key, std::string_view doc, At at, std::vector<std::pair<std::string_view, T>> words) {
  return {key, doc, false, false,
          [at, words](DaemonConfig& c, const Values& v) -> Result<> {
            std::string all;
            for (const auto& [word, value] : words) {
              if (word == v[0]) { at(c) = value; return {}; }
              all += (all.empty() ? "" : ", ") + std::string(word);
            }
            return Wrong(v[0], "one of " + all);
          },
          [at, words](const DaemonConfig& c) -> Values {
            for (const auto& [word, value] : words) if (at(const_cast<DaemonConfig&>(c)) == value) return {std::string(word)};
            return {""};
          }};
}
template <class At>
Setting Switch(std::string_view key, std::string_view doc, At at) {
  return Choice(key, doc, at, std::vector<std::pair<std::string_view, bool>>{{"true", true}, {"false", false}});
}

// "host:port", "[2001:db8::1]:443".
std::optional<std::pair<std::string, std::uint16_t>> HostAndPort(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == text.npos || colon == 0) return std::nullopt;
  const std::string_view digits = text.substr(colon + 1);
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc() || end != digits.data() + digits.size() || port == 0) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  else if (host.find(':') != host.npos) return std::nullopt;
  return std::pair(std::string(host), port);
}

Setting Resolve(std::string_view key, std::string_view doc) {
  return {key, doc, false, true,
          [](DaemonConfig& c, const Values& v) -> Result<> {
            std::vector<http::ResolveOverride> overrides;
            for (const std::string& text : v) {
              const auto equals = text.find('=');
              const auto from = HostAndPort(std::string_view(text).substr(0, equals));
              const auto to = equals == text.npos ? std::nullopt : HostAndPort(std::string_view(text).substr(equals + 1));
              if (!from || !to) return Wrong(text, "host:port=address:port");
              overrides.push_back({from->first, from->second, to->first, to->second});
            }
            c.registry.overrides = std::move(overrides);
            return {};
          },
          [](const DaemonConfig& c) {
            const auto name = [](const std::string& host) { return host.find(':') == host.npos ? host : "[" + host + "]"; };
            Values values;
            for (const auto& o : c.registry.overrides)
              values.push_back(name(o.host) + ":" + std::to_string(o.port) + "=" + name(o.address) + ":" + std::to_string(o.to_port));
            return values;
          }};
}

#define AT(member) [](DaemonConfig& c) -> auto& { return c.member; }

const std::vector<Setting>& Settings() {
  using pull::KeepBlobs;
  static const std::vector<Setting> settings{
      Text("root", "the store", AT(root)),
      Text("runDir", "sockets and other state of one boot", AT(run_dir)),
      Text("socket", "where berth.v1 is served; root's, mode 0600", AT(socket)),
      List("listen.http", "where metrics and health are served: ADDRESS:PORT, unix:///PATH", AT(http_listen)),
      Text("worker", "berth-unpack; empty: beside berthd", AT(worker)),
      Choice("form", "auto, erofs, tree: how layers are kept; auto: EROFS where this kernel mounts it, or berthd may not mount", AT(form),
             std::vector<std::pair<std::string_view, FormChoice>>{
                 {"auto", FormChoice::kAuto}, {"erofs", FormChoice::kErofs}, {"tree", FormChoice::kTree}}),
      Choice("log.level", "debug, info, warning, error", AT(log.level),
             std::vector<std::pair<std::string_view, log::Level>>{
                 {"debug", log::Level::kDebug}, {"info", log::Level::kInfo}, {"warning", log::Level::kWarning},
                 {"error", log::Level::kError}}),
      Choice("log.format", "klog text or JSON lines", AT(log.format),
             std::vector<std::pair<std::string_view, log::Format>>{{"text", log::Format::kText}, {"json", log::Format::kJson}}),
      List("hostsDirs", "folders with HOST/hosts.toml or certificates; the first that knows a host wins", AT(registry.hosts.roots)),
      List("plainHttp", "registries (host[:port]) spoken to in plain HTTP", AT(registry.hosts.plain_http)),
      List("trustedRealms", "token services on other domains that may see a registry's credentials", AT(registry.trusted_realms)),
      Switch("http2", "offer HTTP/2 to registries; HTTP/1.1 gives each blob a connection and a congestion window of its own", AT(http2)),
      Resolve("resolve", "host:port=address:port: connect there instead"),
      Choice("credentials.profile", "Documented, Kubelet: how keys of credential files match; Documented: globs over the whole host, paths up to a /; Kubelet: as v1.36 does, label by label, paths by bytes", AT(profile),
             std::vector<std::pair<std::string_view, credentials::Profile>>{
                 {"Documented", credentials::Profile::kDocumented}, {"Kubelet", credentials::Profile::kKubelet}}),
      List("credentials.nodeConfig", "folders looked at for config.json and .dockercfg", AT(node_config)),
      Switch("credentials.helpers", "docker credential helpers named in config.json are asked", AT(node.helpers)),
      Text("credentials.pluginConfig", "CredentialProviderConfig, a file or a folder; empty: no plug-ins", AT(node.plugin_config)),
      Text("credentials.pluginBinDir", "where those programs are", AT(node.plugin_bin_dir)),
      Text("credentials.tokenIssuer", "iss of service account tokens for plug-ins; empty: https:// and the node's name", AT(node.token_issuer)),
      Switch("credentials.anonymousFallback", "when all credentials of a Pod were refused, try without", AT(node.anonymous_fallback)),
      Switch("node.enabled", "Pods run on this machine", AT(node.enabled)),
      Text("node.name", "of this node; empty: the host name", AT(node.name)),
      Text("node.hostIP", "shown as hostIP; the address of Pods with hostNetwork", AT(node.host_ip)),
      Text("node.kubeletConfig", "a file with a KubeletConfiguration: pulls, verification, garbage collection", AT(node.kubelet_config)),
      Text("node.staticPods", "folder of static Pods; empty: none", AT(node.static_pods)),
      Text("node.runtime", "crun, runc or a path that ends so; empty: what works here", AT(node.runtime)),
      Text("node.shim", "berth-shim; empty: beside berthd", AT(node.shim)),
      Text("node.logs", "folder of container logs; empty: logs/ in the store", AT(node.logs)),
      Text("apiserver.listen", "where the Kubernetes API is served (HTTPS), as 127.0.0.1:6443; empty: nowhere", AT(node.api_listen)),
      Text("apiserver.kubeconfig", "written for root at every start; empty: kubeconfig below runDir", AT(node.api_kubeconfig)),
      List("apiserver.names", "further host names by which clients call it", AT(node.api_names)),
      Switch("node.alwaysPullImages", "admission sets every pull policy to Always", AT(node.always_pull_images)),
      List("cri.runtimeHandlers", "runtime handlers that CRI requests may name, beside the default one", AT(runtime_handlers)),
      Size("pull.parallel", "pulls at work at once; more wait in order", AT(pull.pulls)),
      Size("pull.layers", "layers streamed and unpacked at once, all pulls together", AT(pull.layers)),
      Choice("pull.keepBlobs", "WhileSpace, Always, Never: keep compressed layers after unpacking, a cache for export and repair", AT(pull.keep_blobs),
             std::vector<std::pair<std::string_view, KeepBlobs>>{
                 {"WhileSpace", KeepBlobs::kWhileSpace}, {"Always", KeepBlobs::kAlways}, {"Never", KeepBlobs::kNever}}),
      Time("pull.partialAge", "partial downloads nobody resumed are removed after this, or when space is wanted", AT(partial_age)),
      Time("pull.leftoverAge", "layers of failed pulls are removed after this", AT(leftover_age)),
      Time("pull.sweepEvery", "how often that is looked at; at least 1s", AT(sweep_every), false, std::chrono::seconds(1)),
      Size("retry.rounds", "tries of each host for one document or blob", AT(registry.retry.rounds)),
      Size("retry.refill", "progress of a blob that gives all its tries back; a sixteenth gives one", AT(registry.retry.refill_bytes)),
      Time("retry.base", "first wait between rounds; doubles", AT(registry.retry.base)),
      Time("retry.cap", "longest wait between rounds", AT(registry.retry.cap)),
      Time("retry.retryAfterCap", "longest wait a registry may ask for", AT(registry.retry.retry_after_cap), true),
      Time("retry.deadFor", "a host that cannot be reached is passed over for this long", AT(registry.retry.dead_for)),
      Switch("layers.charDevices", "character devices in layers are kept", AT(unpack.build.char_devices)),
      Switch("layers.blockDevices", "block devices in layers are kept instead of refused", AT(unpack.build.block_devices)),
      Size("limits.document_bytes", "manifest, index, config, each", AT(pull.limits.document_bytes)),
      Size("limits.documents", "documents of one pull", AT(pull.documents)),
      Size("limits.documents_bytes", "those that its image needs, together", AT(pull.documents_bytes)),
      Size("limits.index_depth", "indexes inside indexes", AT(pull.index_depth)),
      Size("limits.index_entries", "entries of an index", AT(pull.limits.index_entries)),
      Size("limits.layers", "layers of an image", AT(pull.limits.layers)),
      Size("limits.layer_bytes", "a layer, compressed", AT(pull.limits.layer_bytes)),
      Size("limits.output_bytes", "a layer's tar stream", AT(unpack.codec.output_bytes)),
      Size("limits.unpacked_bytes", "apparent sizes of a layer's files", AT(unpack.build.unpacked_bytes)),
      Size("limits.reserve_bytes", "free space that pulls leave", AT(pull.reserve_bytes)),
      Size("limits.zstd_window_bytes", "window of a zstd frame", AT(unpack.codec.zstd_window_bytes), true, 1u << 20),
      Size("limits.zstd_budget_bytes", "windows of all layers at once; who wants more waits: with less than two of the largest, most do",
           AT(zstd_budget_bytes), true, 8u << 20),
      Size("limits.worker_bytes", "memory of an unpack worker, beside its window and 256 bytes for each of limits.entries",
           AT(unpack.worker_bytes), true, 64u << 20),
      Size("limits.entries", "entries of a layer", AT(unpack.build.entries)),
      Size("limits.depth", "folders inside folders", AT(unpack.build.depth)),
      Size("limits.hard_links", "names of one file", AT(unpack.build.hard_links)),
      Size("limits.extension_bytes", "one PAX header or GNU long name", AT(unpack.tar.extension_bytes)),
      Size("limits.extensions_in_a_row", "extension headers before one entry", AT(unpack.tar.extensions_in_a_row)),
      Size("limits.xattr_value_bytes", "one extended attribute", AT(unpack.tar.xattr_value_bytes)),
      Size("limits.xattr_total_bytes", "all of one entry", AT(unpack.tar.xattr_total_bytes)),
      Size("limits.xattrs", "how many one entry may have", AT(unpack.tar.xattrs)),
      Size("limits.sparse_segments", "segments of a sparse file", AT(unpack.tar.sparse_segments)),
      Size("limits.file_bytes", "apparent size of one file", AT(unpack.tar.file_bytes)),
      Size("limits.token_body_bytes", "answer of a token service", AT(registry.token_body_bytes)),
      Size("limits.token_bytes", "a token", AT(registry.token_bytes)),
      Size("limits.error_body_bytes", "of an error answer that is read", AT(registry.error_body_bytes)),
      Time("limits.connect", "name and TCP of one connection", AT(registry.http.connect), true),
      Time("limits.mirror_connect", "the same while further hosts are left; three times as long for all of them", AT(registry.mirror_connect), true),
      Time("limits.tls", "its TLS handshake", AT(registry.http.tls), true),
      Time("limits.headers", "from a request to the last header of its answer", AT(registry.http.headers), true),
      Size("limits.min_rate", "bytes per second a download must bring over the stall window", AT(registry.http.min_rate)),
      Time("limits.stall_window", "a download below that for so long is broken off and resumed", AT(registry.http.stall_window), true),
      Size("limits.header_bytes", "headers of one answer", AT(registry.http.header_bytes), true, 1024),
      Size("limits.header_fields", "how many it may have", AT(registry.http.header_fields), true, 16),
      Size("limits.informational", "informational answers (1xx) before the final one", AT(registry.http.informational)),
      Size("limits.docker_config_bytes", "config.json, .dockercfg, or a pull secret", AT(docker_config.bytes)),
      Size("limits.docker_config_depth", "objects inside objects of one", AT(docker_config.depth), true, 4),
      Time("limits.plugin_time", "one run of a credential plug-in", AT(node.plugins.time), true),
      Size("limits.plugin_output_bytes", "its answer", AT(node.plugins.output_bytes)),
      Size("limits.plugin_error_bytes", "of its stderr that is kept, the end", AT(node.plugins.error_bytes)),
      Size("limits.plugins", "plug-ins at work at once; more wait", AT(node.plugins.at_once)),
      Size("limits.account_file_bytes", "/etc/passwd or /etc/group of an image", AT(node.account_file_bytes)),
      Size("limits.account_line_bytes", "one line of it", AT(node.account_line_bytes)),
      Size("limits.signatures", "signatures of an image that are looked at", AT(signatures.count)),
      Size("limits.signature_bytes", "all of them, with their manifests", AT(signatures.bytes)),
      Size("limits.redirects", "hops of one request", AT(registry.redirects)),
      Size("limits.streams", "calls at once of one connection; long ones (pulls that are waited for, streams) at once of each service", AT(streams)),
      Size("limits.connections", "callers of the socket at once", AT(connections)),
      Size("limits.connections_per_process", "of them, of one process", AT(connections_per_process)),
      Size("limits.message_bytes", "one message", AT(message_bytes), true, 64u << 10),
      Size("limits.metadata_bytes", "headers of one call", AT(metadata_bytes), true, 4u << 10),
      Size("limits.journal", "entries of the journal", AT(journal)),
      Time("limits.journal_age", "older ones go; 0s: only their number counts", AT(journal_age)),
  };
  return settings;
}
#undef AT

Result<> Apply(DaemonConfig& config, const std::string& key, const Values& values, bool list, const std::string& origin) {
  const auto& settings = Settings();
  const auto setting = std::ranges::find(settings, key, &Setting::key);
  if (setting == settings.end()) {
    // The table's keys are short; a key that is not is no typing error of one of them.
    std::string_view nearest;
    if (key.size() <= 64) {
      nearest = std::ranges::min_element(settings, {}, [&](const Setting& s) { return bytes::EditDistance(key, s.key); })->key;
      if (bytes::EditDistance(key, nearest) > key.size() / 2) nearest = {};
    }
    return Error(Reason::kConfig, origin + ": there is no setting " + Quoted(key) + (nearest.empty() ? "" : "; did you mean " + Quoted(nearest) + "?"))
        .Next("berthd --print-config shows all settings");
  }
  if (setting->list ? !list && values != Values{""} && origin != "--set" : list)
    return Error(Reason::kConfig, origin + ": " + key + (setting->list ? " must be a list" : " must be one value"));
  auto set = setting->set(config, setting->list && values == Values{""} ? Values{} : values);
  if (!set) return Error(Reason::kConfig, origin + ": " + key + ": " + set.error().message());
  config.origins[key] = origin;
  return {};
}

std::string YamlScalar(const std::string& text) {
  const bool plain = !text.empty() && text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == text.npos;
  if (plain) return text;
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

std::string Joined(const Setting& setting, const Values& values) {
  if (!setting.list) return YamlScalar(values.at(0));
  std::string out = "[";
  for (const auto& value : values) out += (out.size() > 1 ? ", " : "") + YamlScalar(value);
  return out + "]";
}

}  // namespace

Result<DaemonConfig> ParseConfig(const std::vector<ConfigFile>& files, const std::vector<std::string>& overrides) {
  DaemonConfig config;
  config.node_config = {"/var/lib/kubelet", "/root/.docker"};
  config.http_listen = {"127.0.0.1:10290"};
  for (const auto& [text, name] : files) {
    ASSIGN_OR_RETURN(auto entries, ReadYaml(text, name));
    if (entries.verification.enabled()) config.verification = std::move(entries.verification);
    for (const auto& entry : entries.plain)
      RETURN_IF_ERROR(Apply(config, entry.key, entry.values, entry.list, std::string(name) + ":" + std::to_string(entry.line)));
  }
  for (const auto& text_override : overrides) {
    const auto equals = text_override.find('=');
    if (equals == text_override.npos) return Error(Reason::kUsage, "--set wants key=value, not " + Quoted(text_override)).Next("berthd --print-config shows all settings");
    Values values;
    std::string_view rest = std::string_view(text_override).substr(equals + 1);
    const std::string key = text_override.substr(0, equals);
    const auto setting = std::ranges::find(Settings(), key, &Setting::key);
    const bool list = setting != Settings().end() && setting->list;
    for (;;) {
      const auto comma = list ? rest.find(',') : rest.npos;
      values.emplace_back(rest.substr(0, comma));
      if (comma == rest.npos) break;
      rest.remove_prefix(comma + 1);
    }
    RETURN_IF_ERROR(Apply(config, key, values, list, "--set"));
  }
  for (const auto& [what, path] : {std::pair("root", &config.root), {"runDir", &config.run_dir}, {"socket", &config.socket}})
    if (!path->starts_with('/')) return Error(Reason::kConfig, std::string(what) + " must be an absolute path, not " + Quoted(*path));
  for (const auto& address : config.http_listen)
    if (auto good = host::CheckListenAddress(address); !good) return std::move(good).error().Context("listen.http");
  if (!config.node.api_listen.empty())
    if (auto good = host::ParseTcpAddress(config.node.api_listen); !good) return Error(Reason::kConfig, "apiserver.listen: " + good.error().message());
  // One limit, two readers.
  config.registry.document_bytes = config.pull.limits.document_bytes;
  config.unpack.tar.entries = config.unpack.build.entries;
  return config;
}

Result<DaemonConfig> LoadConfig(const std::string& wanted, const std::vector<std::string>& overrides,
                                const std::vector<std::string>& before) {
  const std::string path = wanted.empty() ? "/etc/berth/config.yaml" : wanted;
  const std::string folder = path.substr(0, path.rfind('/') + 1) + "config.d";  // of a bare name: here
  std::vector<std::string> names;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(folder, none))
    if (entry.path().extension() == ".yaml") names.push_back(entry.path().string());
  std::ranges::sort(names);
  const bool needed = names.empty() && !wanted.empty() && before.empty();
  names.insert(names.begin(), path);
  std::vector<std::string> texts(names.size());
  std::vector<ConfigFile> files;
  for (std::size_t i = 0; i < names.size(); ++i) {
    auto text = host::ReadSmallFile(names[i], 1u << 20);
    if (!text && i == 0 && !needed && text.error().reason() == Reason::kMissing) continue;
    if (!text)
      return Error(Reason::kConfig, "the configuration file " + Quoted(names[i]) + " cannot be read: " + text.error().message())
          .Next(i == 0 ? "check the path given with --config" : "make it readable, or take it away");
    texts[i] = *std::move(text);
    files.push_back({texts[i], names[i]});
  }
  for (const auto& name : before)
    if (std::ranges::find(files, name, &ConfigFile::name) == files.end())
      return Error(Reason::kConfig, "the configuration file " + Quoted(name) + " was read before and is gone")
          .Next("put it back, empty if its settings are to go; or start berthd again, which does without it");
  ASSIGN_OR_RETURN(auto config, ParseConfig(files, overrides));
  for (const auto& file : files) config.files.emplace_back(file.name);
  return config;
}

std::string PrintConfig(const DaemonConfig& config) {
  std::string out = "apiVersion: berth.dev/v1alpha1\nkind: ImageDaemonConfiguration\n";
  for (const auto& setting : Settings()) {
    out += std::string(setting.key) + ": " + Joined(setting, setting.get(config));
    const auto origin = config.origins.find(std::string(setting.key));
    out += "  # " + (origin == config.origins.end() ? "default" : origin->second) + "\n";
  }
  out += config.verification.enabled() ? "verification: " + config.verification.text() + "\n" : "# verification " + config.verification.Summary() + "\n";
  return out;
}

std::vector<std::string> Differences(const DaemonConfig& a, const DaemonConfig& b) {
  std::vector<std::string> keys;
  for (const auto& setting : Settings())
    if (setting.get(a) != setting.get(b)) keys.emplace_back(setting.key);
  return keys;
}

std::vector<std::string> ListLimits(const DaemonConfig& config) {
  std::vector<std::string> limits;
  for (const auto& setting : Settings())
    if (setting.limit) limits.push_back(std::string(setting.key) + "=" + setting.get(config).at(0));
  return limits;
}

std::string ConfigReference() {
  const DaemonConfig defaults = *ParseConfig("", "", {});
  std::string out =
      "# Settings of berthd\n\n`berthd --config FILE` (default: /etc/berth/config.yaml if it is there), then `config.d/*.yaml` beside it in the order\n"
      "of their names, then `--set key=value`: the later wins, a list replaces a list. `--print-config` shows what is in force and which file\n"
      "set it. A file that is not empty begins with `apiVersion: berth.dev/v1alpha1` and `kind: ImageDaemonConfiguration`.\n"
      "This page is made from the table that reads the settings (`berthd --config-reference`); a test compares.\n\n"
      "| key | default | meaning |\n| --- | --- | --- |\n";
  for (const auto& setting : Settings())
    out += "| `" + std::string(setting.key) + "` | `" + Joined(setting, setting.get(defaults)) + "` | " + std::string(setting.doc) + " |\n";
  out += "\n`verification:` is a section of its own: [verification.md](verification.md).\n";
  return out;
}

}  // namespace berth::config
