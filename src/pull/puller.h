// pull/puller.h: from a name to a verified, unpacked, durable image.
//
//   Puller puller({.registry = …, .content = …, …});
//   auto pull = puller.Start(ctx, {.reference = …, .policy = Policy::kIfNotPresent, .credentials = …});
//   Result<Pulled> done = pull.Wait(ctx);               // pull.progress() tells how far it is
//
// The life of a pull (ARCHITECTURE.md tells it with reasons):
//   policy → intent on record → resolve → verification (pull/gate.h) → documents → platform → plan → layers, each streamed once from the socket to
//   its EROFS image while both digests are computed → fit to the image → publish in one transaction.
//
// Same work once: pulls of the same name, platforms, policy and credentials, all with or all without a
// `before_publish`, share one flight; layers and configs are shared by digest among all pulls. Every pull resolves
// with its own credentials first: nobody rides on a right he does not have (F-13). Cancelling a pull stops the work when nobody else waits for it; what was fetched stays as a
// partial and the next pull resumes it, also after a crash.
// Visible is only what is verified and durable: an image appears when its files are synced and its row is committed.
//
// Errors: those of registry, layer, content and catalog, with the layer's place as context; kNever, kNoMatch and kSignature from here.
// Safe for concurrent use. The destructor stops all pulls and waits for them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/catalog.h"
#include "catalog/leases.h"
#include "content/store.h"
#include "credentials/credential.h"
#include "layer/store.h"
#include "oci/oci.h"
#include "pull/gate.h"
#include "pull/observer.h"
#include "pull/progress.h"
#include "pull/record.h"
#include "reference/reference.h"
#include "registry/client.h"
#include "result/result.h"
#include "task/context.h"
#include "task/single_flight.h"
#include "task/spawn.h"
#include "verify/verifier.h"

namespace berth::pull {

// kubelet's imagePullPolicy. To a pull, an image for a lesser platform (386 on amd64) is present only if the kept index offers no
// better one.
enum class Policy : std::uint8_t { kIfNotPresent, kAlways, kNever };
std::string_view Name(Policy policy);                    // "IfNotPresent"
std::optional<Policy> ParsePolicy(std::string_view text);  // as Kubernetes spells it

// Compressed layer blobs after unpacking (architecture 5): a cache for export, peers and repair.
enum class KeepBlobs : std::uint8_t { kWhileSpace, kAlways, kNever };

// Asked with the ids (config digests) of the images that a pull is about to publish, once, before anybody can see them. An error fails
// the pull, and nothing is published. What it returns is let go of when they are visible, or will not be. Called by the pull, which
// goes on for a moment when its callers have left: it may refer to nothing that they take with them.
using BeforePublish = std::function<Result<std::shared_ptr<const void>>(const std::vector<std::string>& ids)>;

struct Request {
  reference::Reference reference;
  Policy policy = Policy::kIfNotPresent;
  std::vector<oci::Platform> platforms;  // empty: the host's
  bool all_platforms = false;            // every image of the index
  std::vector<credentials::Credential> credentials;  // tried in order; empty: anonymous
  Asker asker;                           // for the journal; of several who share a pull, the first
  BeforePublish before_publish;          // may be empty; of several who share a pull, the first one's: all have to ask for the same
};

// The parts of Credential::Describe(), for programs.
struct UsedCredential {
  std::string source;                     // "secret", "anonymous", "command line", "config.json /root/.docker/config.json"; "": none was needed
  std::string namespace_name, name;       // of a Secret
  std::string pattern, user;
};

struct Pulled {
  std::string name;                       // canonical
  digest::Digest target;
  std::vector<catalog::ImageRecord> images;
  bool was_present = false;               // nothing had to be fetched
  std::uint64_t fetched_bytes = 0, reused_bytes = 0, resumed_bytes = 0;  // of layers, compressed
  std::string credential, host;           // that worked; who answered
  UsedCredential used;
  double queue_seconds = 0, resolve_seconds = 0, total_seconds = 0;  // for a slot; until it was resolved; in all
  double fetch_seconds = 0, unpack_seconds = 0;  // both begin with the layers: until the last byte came; until the last was stored
  std::optional<verify::Verdict> verdict; // of this pull, while images are verified
};

struct PullerOptions {
  std::size_t pulls = 8;                  // at once; more wait in order of arrival
  std::size_t layers = 4;                 // streamed and unpacked at once, all pulls together
  std::size_t documents = 64;             // looked at, per pull
  std::uint64_t documents_bytes = 16u << 20;  // of those that the image needs, per pull: they are in memory until it ends
  std::size_t index_depth = 4;
  std::uint64_t reserve_bytes = 16u << 20;  // free space that no pull begins to use: the catalog must go on, and removals
  KeepBlobs keep_blobs = KeepBlobs::kWhileSpace;
  double keep_blobs_free = 0.20;          // kWhileSpace: keep while more than this share of the file system is free
  layer::Form form = layer::Form::kErofs;
  oci::DocumentLimits limits;
  oci::Platform host = oci::HostPlatform();
  // On a full disk, for a pull that does not fit (again as long as that takes something) and once for each layer that fills it:
  // takes `wanted` bytes from what nobody needs and nobody leases, or nothing when there are not so many; of 2^64-1 all that there
  // are. How many it took. One call at a time.
  std::function<Result<std::uint64_t>(const task::Context& ctx, std::uint64_t wanted)> free_space;
  Observer* observer = nullptr;           // outlives the Puller
  task::Spawn spawn = task::SpawnDetached;  // of pulls and documents
};

// Whether all layers of `image` are here, and nobody is removing it right now.
Result<bool> IsWhole(const catalog::ImageRecord& image, const catalog::Leases& leases, const layer::LayerStore& layers);

class Puller {
 public:
  struct Stores {
    registry::Client& registry;
    content::Store& content;
    layer::LayerStore& layers;
    catalog::Catalog& catalog;
    catalog::Leases& leases;
    const host::Dir& root;                // of the store: free space is measured here
    const verify::Verifier* verifier = nullptr;  // nullptr: images are not verified
  };
  Puller(Stores stores, PullerOptions options);
  ~Puller();

  // One caller's share in a pull. Leaving it early (destruction) stops the work when nobody else waits.
  class Pull {
   public:
    Result<Pulled> Wait(const task::Context& ctx) { return ticket_.Wait(ctx); }
    const Progress& progress() const { return *progress_; }
    std::shared_ptr<Progress> shared_progress() const { return progress_; }

   private:
    friend class Puller;
    task::SingleFlight<std::string, Pulled>::Ticket ticket_;
    std::shared_ptr<Progress> progress_;
  };
  Pull Start(const task::Context& ctx, Request request);
  const Gate& gate() const;               // for whoever uses what is here without pulling it
  std::size_t running() const;            // pulls at work
  std::size_t waiting() const;            // for a slot

 private:
  class Flight;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace berth::pull
