// layer/testing/naive_image.h: layers applied one after the other to a map from path to file: what TreeBuilder, Fit() and overlayfs
// together must come to.
//
// A second account of layer/builder.h and layer/fit.h that shares nothing with them: whole paths as text, no trees, no node
// numbers. Slow. Apply() is false for a layer that must be refused. Where the rules leave open what wins (entries of one layer that reach
// one place through several links of lower layers; an opaque marker that comes through such a link over directories that took from what
// it hides), the image is `ambiguous`.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace berth::layer::testing {

struct NaiveEntry {
  enum class What : std::uint8_t { kFile, kDirectory, kSymlink, kHardLink, kDevice, kWhiteout, kOpaque } what = What::kFile;
  std::string path;  // of a whiteout: what it hides; of an opaque marker: its directory
  std::string text;  // contents, target
  std::uint32_t mode = 0644, owner = 0, minor = 0;
  std::string xattr;  // the value of user.k
};

class NaiveImage {
 public:
  bool Apply(const std::vector<NaiveEntry>& layer) {
    own_.clear(), voids_.clear(), count_ = 0, moves_ = 0;
    own_[""] = {.inode = Directory(), .implied = true};
    for (const NaiveEntry& e : layer)
      if (!Take(e)) return false;
    for (const auto& [path, parent] : voids_) {
      const auto at = own_.find(Folder(path));
      if (at == own_.end() || at->second.id != parent) continue;  // its directory was replaced
      const auto here = own_.find(path);
      if (here == own_.end()) own_[path] = {.id = ++count_};
      else if (here->second.IsDir()) here->second.opaque = true, here->second.implied = false;
    }
    for (auto& [path, node] : own_) node.implied &= !Hidden(path);
    for (std::string at; NextMove(at);)
      if (!Move(at)) return false;
    if (!LinkOutside()) return false;
    Merge();
    return true;
  }
  bool ambiguous() const { return ambiguous_; }

  // A line for each path, as Lines() of the fitted trees makes them.
  std::vector<std::string> Lines() const {
    std::vector<std::string> lines;
    std::map<const Inode*, std::string> first;
    for (const auto& [path, inode] : lower_) {
      const std::string& name = first.try_emplace(inode.get(), path).first->second;
      lines.push_back(Line(path, inode->type, inode->mode, inode->owner, inode->text, inode->xattr, name));
    }
    return lines;
  }
  static std::string Line(const std::string& path, char type, std::uint32_t mode, std::uint32_t owner, const std::string& text,
                          const std::string& xattr, const std::string& first) {
    return path + " " + type + " " + std::to_string(mode) + " " + std::to_string(owner) + " " + text + " {" + xattr + "} " +
           (type == 'd' ? "" : first);
  }

 private:
  struct Inode {
    char type = 'd';  // f, l, c
    std::uint32_t mode = 0755, owner = 0;
    std::string text, xattr;
    std::string outside;  // a hard link to this path below
  };
  using File = std::shared_ptr<Inode>;
  struct Own {
    File inode;  // none: a whiteout
    bool implied = false, opaque = false;
    int id = 0;
    bool IsDir() const { return inode && inode->type == 'd'; }
  };

  static File Directory() { return std::make_shared<Inode>(); }
  static std::string Folder(const std::string& path) { return path.find('/') == path.npos ? "" : path.substr(0, path.rfind('/')); }
  static std::string Name(const std::string& path) { return path.substr(path.rfind('/') + 1); }
  static bool Reserved(const std::string& path) { return Name(path).starts_with(".wh."); }
  static std::string Join(const std::string& folder, const std::string& name) { return folder.empty() ? name : folder + "/" + name; }
  static bool Below(const std::string& path, const std::string& folder) {
    return !path.empty() && path != folder && (folder.empty() || path.starts_with(folder + "/"));
  }
  static std::vector<std::string> Parts(const std::string& path) {
    std::vector<std::string> parts;
    for (std::size_t at = 0; at <= path.size();) {
      const std::size_t end = std::min(path.find('/', at), path.size());
      if (const std::string part = path.substr(at, end - at); !part.empty() && part != ".") parts.push_back(part);
      at = end + 1;
    }
    return parts;
  }
  // Walks from `here` along `parts`. `step` says of a path: the text of a link to follow, "" to go on there, or nothing: the walk fails.
  using Step = std::function<std::optional<std::string>(const std::string& path, int links, bool last)>;
  static std::optional<std::string> Walk(std::string here, const std::vector<std::string>& parts, const Step& step) {
    std::deque<std::string> todo(parts.begin(), parts.end());
    for (int links = 0; !todo.empty();) {
      const std::string part = todo.front();
      todo.pop_front();
      if (part == "..") {
        here = Folder(here);
        continue;
      }
      const auto link = step(Join(here, part), links, todo.empty());
      if (!link) return std::nullopt;
      if (link->empty()) {
        here = Join(here, part);
        continue;
      }
      if (++links > 40) return std::nullopt;
      if (link->front() == '/') here.clear();
      const auto more = Parts(*link);
      todo.insert(todo.begin(), more.begin(), more.end());
    }
    return here;
  }

  // --- the layer by itself
  void Clear(const std::string& path) {
    std::erase_if(own_, [&](const auto& entry) { return entry.first == path || Below(entry.first, path); });
  }
  Own& Put(const std::string& path, File inode, bool implied = false) {
    const bool replaced = own_.contains(path);
    Clear(path);
    Own& node = own_[path] = {.inode = std::move(inode), .implied = implied, .id = ++count_};
    node.opaque = replaced && node.IsDir();
    return node;
  }
  std::optional<std::string> Parent(const std::string& path) {
    return Walk("", Parts(Folder(path)), [&](const std::string& at, int links, bool) -> std::optional<std::string> {
      const auto here = own_.find(at);
      if (here == own_.end() && Reserved(at)) return std::nullopt;
      if (here == own_.end()) return Put(at, Directory(), true), "";
      if (here->second.inode->type == 'l') return here->second.inode->text;
      if (here->second.IsDir()) return "";
      if (links > 0) return std::nullopt;
      return Put(at, Directory()), "";  // the later entry wins
    });
  }
  bool Take(const NaiveEntry& e) {
    using What = NaiveEntry::What;
    if (e.what == What::kHardLink) return TakeLink(e);
    const auto folder = e.what == What::kOpaque ? Parent(Join(e.path, "x")) : Parent(e.path);
    if (!folder) return false;
    const std::string path = Join(*folder, Name(e.path));
    const File inode = std::make_shared<Inode>(Inode{'f', e.mode, e.owner, e.text, e.xattr, ""});
    switch (e.what) {
      case What::kOpaque: own_[*folder].opaque = true; return true;
      case What::kWhiteout: voids_.emplace_back(path, own_[*folder].id); return true;
      case What::kDirectory:
        inode->type = 'd';
        if (const auto here = own_.find(path); here != own_.end() && here->second.IsDir()) {
          here->second.inode = inode, here->second.implied = false;
          return true;
        }
        break;
      case What::kSymlink: inode->type = 'l', inode->mode = 0777; break;
      case What::kDevice: inode->type = 'c', inode->text = "1:" + std::to_string(e.minor); break;
      default: break;
    }
    Put(path, inode);
    return true;
  }
  bool TakeLink(const NaiveEntry& e) {
    bool missing = false;
    const auto target = Walk("", Parts(e.text), [&](const std::string& at, int, bool last) -> std::optional<std::string> {
      const auto here = own_.find(at);
      missing |= here == own_.end();
      if (missing || last) return "";
      if (here->second.inode->type == 'l') return here->second.inode->text;
      return here->second.IsDir() ? std::optional("") : std::nullopt;
    });
    if (!target) return false;
    const File inode = missing ? std::make_shared<Inode>(Inode{'f', e.mode, e.owner, "", "", *target}) : own_[*target].inode;
    const auto folder = Parent(e.path);
    if (!folder || inode->type == 'd') return false;
    const std::string path = Join(*folder, Name(e.path));
    if (!missing && Below(*target, path)) return false;  // it would go with the directory that it is in
    if (!missing) {
      const auto still = own_.find(*target);  // its folder may have taken the target's place
      if (path == *target || still == own_.end() || still->second.inode != inode) return false;
    }
    if (inode->type != 'l') inode->mode = e.mode;
    inode->owner = e.owner;
    Put(path, inode);
    return true;
  }

  // --- on what lies below
  bool Hidden(const std::string& path) const {
    for (std::string up = path; !up.empty();) {
      up = Folder(up);
      const auto at = own_.find(up);
      if (at != own_.end() && (!at->second.IsDir() || at->second.opaque)) return true;
    }
    return false;
  }
  File Lower(const std::string& path) const {
    const auto at = lower_.find(path);
    return at == lower_.end() || Hidden(path) ? nullptr : at->second;
  }
  bool NextMove(std::string& path) const {
    for (const auto& [at, node] : own_) {
      const File below = node.implied ? Lower(at) : nullptr;
      if (below && below->type == 'l') return path = at, true;
    }
    return false;
  }
  // The directory that this layer implies is a link below.
  bool Move(const std::string& from) {
    if (++moves_ > 1) ambiguous_ = true;
    const File link = Lower(from);
    bool first = true;
    const auto to = Walk(Folder(from), {Name(from)}, [&](const std::string& at, int, bool) -> std::optional<std::string> {
      if (std::exchange(first, false)) return link->text;
      const auto here = own_.find(at);
      const bool implied = here == own_.end() || (here->second.implied && here->second.IsDir());
      const File below = implied ? Lower(at) : nullptr;
      if (below && below->type == 'l') return below->text;
      if (below && below->type != 'd' && here == own_.end()) return std::nullopt;
      if (here == own_.end() && Reserved(at)) return std::nullopt;
      if (here == own_.end() || !here->second.inode || here->second.IsDir()) return "";
      return here->second.inode->type == 'l' ? std::optional(here->second.inode->text) : std::nullopt;
    });
    if (!to) return false;
    Make(*to);
    std::map<std::string, Own> moved;
    for (const auto& [path, node] : own_)
      if (path == from || Below(path, from)) moved[path.substr(from.size())] = node;
    if (*to == from || Below(*to, from)) return ambiguous_ = true;
    Clear(from);
    std::vector<std::string> dropped;
    for (const auto& entry : moved) {
      const std::string& rest = entry.first;
      const Own& node = entry.second;
      if (std::ranges::any_of(dropped, [&](const std::string& folder) { return rest.starts_with(folder + "/"); })) continue;
      const std::string path = *to + (to->empty() && !rest.empty() ? rest.substr(1) : rest);
      const auto there = own_.find(path);
      if (there == own_.end()) {
        own_[path] = node;
      } else if (!there->second.inode) {
        there->second = node;
        there->second.opaque |= node.IsDir();
      } else if (there->second.IsDir() && !node.inode) {
        there->second.opaque = true;
      } else if (there->second.IsDir() && node.IsDir()) {
        const auto implied_below = [&](const auto& other) { return other.second.implied && Below(other.first, path); };
        if (node.opaque && !std::exchange(there->second.opaque, true)) ambiguous_ |= std::ranges::any_of(own_, implied_below);
        if (!node.implied && there->second.implied) there->second.inode = node.inode, there->second.implied = false;
      } else {
        dropped.push_back(rest);
      }
    }
    return true;
  }
  void Make(const std::string& path) {
    std::string at;
    for (const std::string& part : Parts(path)) {
      at = Join(at, part);
      const auto here = own_.find(at);
      if (here == own_.end()) own_[at] = {.inode = Directory(), .implied = !Hidden(at), .id = ++count_};
      else if (!here->second.inode) here->second.inode = Directory(), here->second.opaque = true;
    }
  }
  bool LinkOutside() {
    std::map<int, File> links;  // by the oldest name
    for (const auto& [path, node] : own_) {
      if (!node.inode || node.inode->outside.empty()) continue;
      int oldest = node.id;
      for (const auto& [other, named] : own_)
        if (named.inode == node.inode) oldest = std::min(oldest, named.id);
      links[oldest] = node.inode;
    }
    std::map<File, File> copies;
    for (const auto& [id, inode] : links) {
      File found;
      const auto target = Walk("", Parts(inode->outside), [&](const std::string& at, int, bool last) -> std::optional<std::string> {
        const auto here = lower_.find(at);
        if (here == lower_.end()) return std::nullopt;
        if (last) return found = here->second, "";
        if (here->second->type == 'l') return here->second->text;
        return here->second->type == 'd' ? std::optional("") : std::nullopt;
      });
      if (!target || !found || found->type == 'd') return false;
      const auto [copy, first] = copies.try_emplace(found, inode);
      inode->outside.clear();
      const File to = copy->second;
      if (first) to->type = found->type, to->text = found->text, to->xattr = found->xattr;
      to->mode = to->type == 'l' ? 0777 : inode->mode, to->owner = inode->owner;
      for (auto& [path, node] : own_)
        if (node.inode == inode) node.inode = to;
      if (Hidden(*target) || own_.contains(*target)) continue;
      Make(Folder(*target));
      own_[*target] = {.inode = to, .id = ++count_};
    }
    return true;
  }
  void Merge() {
    std::map<std::string, File> merged;
    for (const auto& [path, inode] : lower_)
      if (!Hidden(path)) merged[path] = inode;
    for (const auto& [path, node] : own_) {
      const auto below = merged.find(path);
      if (!node.inode) merged.erase(path);
      else if (!node.implied || below == merged.end() || below->second->type != 'd') merged[path] = node.inode;
    }
    lower_ = std::move(merged);
  }

  std::map<std::string, File> lower_;
  std::map<std::string, Own> own_;
  std::vector<std::pair<std::string, int>> voids_;
  int count_ = 0, moves_ = 0;
  bool ambiguous_ = false;
};

}  // namespace berth::layer::testing
