#include "http/trust.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

namespace berth::http {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kRemembered = 16;
constexpr std::uintmax_t kMaxFile = 4u << 20;
constexpr std::string_view kBegin = "-----BEGIN ", kEnd = "-----END ";
constexpr std::string_view kSystemFolder = "/etc/ssl/certs";
constexpr const char* kSystemBundles[] = {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                                          "/etc/ssl/ca-bundle.pem", "/etc/pki/tls/cacert.pem",
                                          "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem"};

std::string Stamp(const std::string& path) {
  struct stat st{};
  if (stat(path.c_str(), &st) != 0) return path + "|-;";
  std::ostringstream out;
  out << path << '|' << st.st_dev << '|' << st.st_ino << '|' << st.st_size << '|' << st.st_mtim.tv_sec << '.' << st.st_mtim.tv_nsec
      << ';';
  return out.str();
}

std::string Contents(const std::string& path) {
  std::error_code ec;
  if (!fs::is_regular_file(path, ec) || fs::file_size(path, ec) > kMaxFile) return {};
  std::ifstream in(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  if (!text.empty() && text.back() != '\n') text += '\n';
  return text;
}

bool HoldsCertificate(std::string_view pem) {
  return pem.find("-----BEGIN CERTIFICATE-----") != std::string_view::npos ||
         pem.find("-----BEGIN TRUSTED CERTIFICATE-----") != std::string_view::npos;
}

// Gathers certificates, each once: bundles and folders of a system hold the same ones, and every byte of them is parsed by
// every handshake.
class Gathered {
 public:
  void Add(std::string_view pem) {
    for (std::size_t from = pem.find(kBegin); from != pem.npos; from = pem.find(kBegin, from)) {
      std::size_t to = pem.find(kEnd, from);
      to = to == pem.npos ? to : pem.find('\n', to);
      const std::string_view block = pem.substr(from, to == pem.npos ? to : to + 1 - from);
      if (seen_.emplace(block).second) text_ += block;
      from += block.size();
    }
  }
  std::string Take() && { return std::move(text_); }

 private:
  std::string text_;
  std::set<std::string> seen_;
};

std::vector<std::string> FilesOf(const std::string& folder, bool every_name) {
  std::vector<std::string> files;
  std::error_code ec;
  for (fs::directory_iterator it(folder, ec), end; !ec && it != end; it.increment(ec)) {
    const std::string ext = it->path().extension().string();
    if (every_name || ext == ".crt" || ext == ".pem" || ext == ".cert" || ext == ".0") files.push_back(it->path().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

// "5f618aec.0": what OpenSSL looks for.
bool HashedName(std::string_view name) {
  return name.size() == 10 && name[8] == '.' && name[9] >= '0' && name[9] <= '9' &&
         std::all_of(name.begin(), name.begin() + 8, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::size_t Certificates(std::string_view pem) {
  std::size_t n = 0;
  for (std::size_t at = pem.find(kBegin); at != std::string_view::npos; at = pem.find(kBegin, at + kBegin.size())) ++n;
  return n;
}

std::size_t HashedCertificates(const std::string& folder) {
  std::size_t n = 0;
  std::error_code ec;
  for (fs::directory_iterator it(folder, ec), end; !ec && it != end; it.increment(ec))
    n += HashedName(it->path().filename().string()) ? 1 : 0;
  return n;
}

Error Unusable(const std::string& path, std::string_view what) {
  return Error(Reason::kConfig, "the " + std::string(what) + " " + Quoted(path) + " is missing or holds no PEM certificate")
      .Next("put the certificate there, or correct the path in the configuration of this registry");
}

}  // namespace

Result<std::shared_ptr<const Trust>> TrustCache::Get(const TlsOptions& options) {
  std::vector<std::string> own;
  for (const std::string& path : options.ca_paths) {
    std::error_code ec;
    if (fs::is_directory(path, ec)) {
      for (std::string& file : FilesOf(path, false)) own.push_back(std::move(file));
    } else {
      own.push_back(path);
    }
  }
  const std::string env_file = Env("SSL_CERT_FILE"), env_folders = Env("SSL_CERT_DIR");
  std::string bundle = env_file;
  std::error_code ec;
  if (bundle.empty()) {
    const auto* found = std::find_if(std::begin(kSystemBundles), std::end(kSystemBundles),
                                     [&](const char* p) { return fs::exists(p, ec); });
    if (found != std::end(kSystemBundles)) bundle = *found;
  }
  std::vector<std::string> folders;
  for (std::istringstream in(env_folders); in;) {
    std::string folder;
    if (std::getline(in, folder, ':') && !folder.empty()) folders.push_back(folder);
  }

  std::string stamp;
  for (const std::string& file : own) stamp += Stamp(file);
  stamp += "+" + Stamp(bundle) + Stamp(std::string(kSystemFolder));
  for (const std::string& folder : folders) {
    stamp += Stamp(folder);
    // A file that is written in place leaves its folder as it is.
    for (const std::string& file : FilesOf(folder, true)) stamp += Stamp(file);
  }
  stamp += "+";
  for (const std::string* file : {&options.client_cert, &options.client_key})
    if (!file->empty()) stamp += Stamp(*file);

  {
    std::lock_guard lock(mutex_);
    for (auto it = recent_.begin(); it != recent_.end(); ++it) {
      if ((*it)->stamp != stamp) continue;
      std::rotate(it, it + 1, recent_.end());
      return recent_.back();
    }
  }

  auto trust = std::make_shared<Trust>();
  trust->stamp = std::move(stamp);
  Gathered certificates;
  for (const std::string& file : own) {
    const std::string pem = Contents(file);
    if (!HoldsCertificate(pem)) return Unusable(file, "CA file");
    certificates.Add(pem);
  }
  for (const std::string* file : {&options.client_cert, &options.client_key}) {
    if (file->empty()) continue;
    std::string key = Contents(*file);
    const bool good = key.find(kBegin) != std::string::npos;
    secret::Secret::Wipe(key);
    if (!good) return Unusable(*file, "client certificate or key");
  }
  const std::string system = bundle.empty() ? "" : Contents(bundle);
  if (folders.empty()) {
    const std::size_t hashed = HashedCertificates(std::string(kSystemFolder));
    if (hashed > 0) trust->hashed_folder = kSystemFolder;
    if (!env_file.empty() || hashed < Certificates(system)) certificates.Add(system);
  } else {
    certificates.Add(system);
    for (const std::string& folder : folders)
      for (const std::string& file : FilesOf(folder, true))
        if (const std::string pem = Contents(file); HoldsCertificate(pem)) certificates.Add(pem);
  }
  trust->pem = std::move(certificates).Take();
  std::lock_guard lock(mutex_);
  if (recent_.size() == kRemembered) recent_.erase(recent_.begin());
  recent_.push_back(trust);
  return std::shared_ptr<const Trust>(trust);
}

}  // namespace berth::http
