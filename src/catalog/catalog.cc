#include "catalog/catalog.h"

#include <algorithm>
#include <array>
#include <map>

namespace berth::catalog {
namespace {

// What stays of a catalog that has known layers when all its rows have gone: those that it does not know are leftovers of a crash.
constexpr std::string_view kMark = "PRAGMA application_id = 1650815604";  // "bert"

constexpr std::array<std::string_view, 3> kMigrations{R"sql(
CREATE TABLE layers(
  blob TEXT PRIMARY KEY, diff_id TEXT NOT NULL, compressed INTEGER NOT NULL, uncompressed INTEGER NOT NULL,
  stored INTEGER NOT NULL, entries INTEGER NOT NULL, added INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE blobs(
  digest TEXT PRIMARY KEY, bytes INTEGER NOT NULL, kind INTEGER NOT NULL, added INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE images(
  manifest TEXT PRIMARY KEY, config TEXT NOT NULL, platform TEXT NOT NULL, size INTEGER NOT NULL, pulled INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX images_by_config ON images(config);
CREATE TABLE image_layers(
  manifest TEXT NOT NULL REFERENCES images ON DELETE CASCADE, position INTEGER NOT NULL,
  blob TEXT NOT NULL REFERENCES layers, diff_id TEXT NOT NULL, variant TEXT NOT NULL,
  PRIMARY KEY(manifest, position)) STRICT, WITHOUT ROWID;
CREATE INDEX image_layers_by_blob ON image_layers(blob);
CREATE TABLE names(
  name TEXT PRIMARY KEY, target TEXT NOT NULL, media_type TEXT NOT NULL, implied INTEGER NOT NULL, updated INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX names_by_target ON names(target);
CREATE TABLE name_images(
  name TEXT NOT NULL REFERENCES names ON DELETE CASCADE, position INTEGER NOT NULL,
  manifest TEXT NOT NULL REFERENCES images ON DELETE CASCADE, PRIMARY KEY(name, position)) STRICT, WITHOUT ROWID;
CREATE INDEX name_images_by_manifest ON name_images(manifest);
CREATE TABLE name_documents(
  name TEXT NOT NULL REFERENCES names ON DELETE CASCADE, digest TEXT NOT NULL, PRIMARY KEY(name, digest)) STRICT, WITHOUT ROWID;
CREATE INDEX name_documents_by_digest ON name_documents(digest);
CREATE TABLE pulls(id INTEGER PRIMARY KEY, name TEXT NOT NULL, started INTEGER NOT NULL) STRICT;
CREATE TABLE mounts(target TEXT PRIMARY KEY, manifest TEXT NOT NULL REFERENCES images, writable INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX mounts_by_manifest ON mounts(manifest);
CREATE TABLE journal(id INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, image TEXT NOT NULL, record TEXT NOT NULL) STRICT;
CREATE INDEX journal_by_image ON journal(image, id);
)sql",
                                                     R"sql(
CREATE TABLE verdicts(subject TEXT PRIMARY KEY, target TEXT NOT NULL, record TEXT NOT NULL, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
)sql",
                                                     R"sql(
CREATE TABLE pins(config TEXT PRIMARY KEY, owner TEXT NOT NULL, reason TEXT NOT NULL, since INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE image_use(config TEXT PRIMARY KEY, last_used INTEGER NOT NULL) STRICT, WITHOUT ROWID;
)sql"};

using db::Row;

std::int64_t Nanos(time::WallTime t) { return t.time_since_epoch().count(); }
time::WallTime Wall(std::int64_t nanos) { return time::WallTime(time::Duration(nanos)); }

// Digests in the catalog were written by us; anything else is damage.
Result<Digest> DigestAt(const Row& row, int column) {
  auto digest = Digest::Parse(row.Text(column));
  if (!digest) return db::Damaged("catalog.db", "the catalog holds a malformed digest");
  return digest;
}

constexpr std::string_view kImageColumns =
    "SELECT i.manifest, i.config, i.platform, i.size, i.pulled,"
    " (SELECT COALESCE(SUM(stored), 0) FROM layers WHERE blob IN (SELECT blob FROM image_layers WHERE manifest = i.manifest)),"
    " p.owner, p.reason, p.since, u.last_used"
    " FROM images i LEFT JOIN pins p ON p.config = i.config LEFT JOIN image_use u ON u.config = i.config ";

Result<ImageRecord> ImageAt(const Row& row) {
  ImageRecord image;
  ASSIGN_OR_RETURN(image.manifest, DigestAt(row, 0));
  ASSIGN_OR_RETURN(image.config, DigestAt(row, 1));
  image.platform = row.Text(2);
  image.size = static_cast<std::uint64_t>(row.Int(3));
  image.pulled = Wall(row.Int(4));
  image.unpacked_bytes = static_cast<std::uint64_t>(row.Int(5));
  if (!row.IsNull(8)) image.pin = Pin{std::string(row.Text(6)), std::string(row.Text(7)), Wall(row.Int(8))};
  if (!row.IsNull(9)) image.last_used = Wall(row.Int(9));
  return image;
}

// Fills in the layers and names of one image.
Result<> Complete(db::Database& db, ImageRecord& image) {
  const std::string manifest = image.manifest.ToString();
  RETURN_IF_ERROR(db.Query(
      "SELECT blob, diff_id, variant FROM image_layers WHERE manifest = ? ORDER BY position",
      [&](const Row& row) -> Result<> {
        ImageLayer layer;
        ASSIGN_OR_RETURN(layer.blob, DigestAt(row, 0));
        ASSIGN_OR_RETURN(layer.diff_id, DigestAt(row, 1));
        layer.variant = row.Text(2);
        image.layers.push_back(std::move(layer));
        return {};
      },
      manifest));
  return db.Query(
      "SELECT n.name FROM names n JOIN name_images m USING(name) WHERE m.manifest = ? ORDER BY n.implied, n.name",
      [&](const Row& row) -> Result<> { image.names.emplace_back(row.Text(0)); return {}; }, manifest);
}

Result<NameRecord> NameAt(const Row& row) {
  NameRecord name;
  name.name = row.Text(0);
  ASSIGN_OR_RETURN(name.target, DigestAt(row, 1));
  name.media_type = row.Text(2);
  name.implied = row.Int(3) != 0;
  name.updated = Wall(row.Int(4));
  return name;
}
constexpr std::string_view kNameColumns = "SELECT name, target, media_type, implied, updated FROM names ";

Result<> CompleteName(db::Database& db, NameRecord& name) {
  return db.Query(
      "SELECT manifest FROM name_images WHERE name = ? ORDER BY position",
      [&](const Row& row) -> Result<> {
        ASSIGN_OR_RETURN(name.images.emplace_back(), DigestAt(row, 0));
        return {};
      },
      name.name);
}

Result<LayerRecord> LayerAt(const Row& row) {
  LayerRecord layer;
  ASSIGN_OR_RETURN(layer.blob, DigestAt(row, 0));
  ASSIGN_OR_RETURN(layer.diff_id, DigestAt(row, 1));
  layer.compressed_bytes = static_cast<std::uint64_t>(row.Int(2));
  layer.uncompressed_bytes = static_cast<std::uint64_t>(row.Int(3));
  layer.stored_bytes = static_cast<std::uint64_t>(row.Int(4));
  layer.entries = static_cast<std::uint64_t>(row.Int(5));
  layer.added = Wall(row.Int(6));
  return layer;
}
constexpr std::string_view kLayerColumns = "SELECT blob, diff_id, compressed, uncompressed, stored, entries, added FROM layers ";

Result<BlobRecord> BlobAt(const Row& row) {
  BlobRecord blob;
  ASSIGN_OR_RETURN(blob.digest, DigestAt(row, 0));
  blob.bytes = static_cast<std::uint64_t>(row.Int(1));
  blob.kind = row.Int(2) == 0 ? BlobKind::kDocument : BlobKind::kLayer;
  return blob;
}

// What keeps an object in the store; used to find the unreferenced and, again, at the moment of forgetting them.
constexpr std::string_view kLayerIsFree = "NOT EXISTS(SELECT 1 FROM image_layers r WHERE r.blob = layers.blob)";
// A kept compressed blob belongs to its layer; a document to a name or an image.
constexpr std::string_view kNeededAsDocument =
    "(EXISTS(SELECT 1 FROM name_documents r WHERE r.digest = blobs.digest)"
    " OR EXISTS(SELECT 1 FROM images r WHERE r.manifest = blobs.digest)"
    " OR EXISTS(SELECT 1 FROM images r WHERE r.config = blobs.digest))";
constexpr std::string_view kNeededByLayer = "EXISTS(SELECT 1 FROM image_layers r WHERE r.blob = blobs.digest)";
constexpr std::string_view kNameless = "NOT EXISTS(SELECT 1 FROM name_images n WHERE n.manifest = images.manifest)";

std::string Sql(std::initializer_list<std::string_view> parts) {
  std::string sql;
  for (auto part : parts) sql += part;
  return sql;
}

Result<std::int64_t> Number(db::Database& db, std::string_view sql) {
  std::int64_t number = 0;
  RETURN_IF_ERROR(db.Query(sql, [&](const Row& row) -> Result<> { number = row.Int(0); return {}; }));
  return number;
}

Error Mounted() { return Error(Reason::kInUse, "the image is mounted").Next("run: berth unmount PATH (berth mount lists them)"); }
Error Pinned(const Pin& pin) {
  return Error(Reason::kInUse, "the image is " + pin.Text()).Next("run: berth unpin IMAGE, or remove it with --force");
}

}  // namespace

std::string Pin::Text() const {
  return "pinned" + (owner.empty() ? "" : " by " + Quoted(owner)) + (reason.empty() ? "" : ": " + Quoted(reason));
}

Result<std::unique_ptr<Catalog>> Catalog::Open(const std::string& folder, const time::Clock& clock, JournalLimits journal,
                                               std::uint64_t reserve_bytes) {
  const std::string path = folder + "/catalog.db";
  ASSIGN_OR_RETURN(auto dir, host::Dir::Open(folder));
  // A database that is opened begins its log and the log's index, and whoever starts after it writes, too.
  const auto space = dir.FreeSpace();
  auto reserve = std::make_unique<Reserve>(std::move(dir), reserve_bytes);
  if (space && space->free_bytes < reserve_bytes / 16) reserve->Release();
  ASSIGN_OR_RETURN(auto writer, db::Database::Open(path, kMigrations));
  ASSIGN_OR_RETURN(auto reader, db::Database::Open(path, kMigrations, db::Access::kReadOnly));
  reserve->Fill();
  return std::unique_ptr<Catalog>(new Catalog(std::move(writer), std::move(reader), clock, journal, std::move(reserve)));
}

Catalog::Catalog(std::unique_ptr<db::Database> writer, std::unique_ptr<db::Database> reader, const time::Clock& clock,
                 JournalLimits journal, std::unique_ptr<Reserve> reserve)
    : clock_(clock), journal_limits_(journal), reserve_(std::move(reserve)), writer_(std::move(writer)), reader_(std::move(reader)) {}
Catalog::~Catalog() = default;

// --- pulls

Result<std::int64_t> Catalog::BeginPull(std::string_view name) {
  std::lock_guard lock(writer_mutex_);
  RETURN_IF_ERROR(writer_->Run("INSERT INTO pulls(name, started) VALUES(?, ?)", name, Nanos(clock_.WallNow())));
  return writer_->last_row_id();
}

Result<> Catalog::EndPull(std::int64_t id, std::string_view journal_record) {
  std::lock_guard lock(writer_mutex_);
  ASSIGN_OR_RETURN(auto tx, writer_->Begin());
  std::string name;
  RETURN_IF_ERROR(writer_->Query("SELECT name FROM pulls WHERE id = ?", [&](const Row& r) -> Result<> { name = r.Text(0); return {}; }, id));
  RETURN_IF_ERROR(writer_->Run("DELETE FROM pulls WHERE id = ?", id));
  if (!journal_record.empty()) RETURN_IF_ERROR(Append("failed", name, journal_record));
  return tx.Commit();
}

Result<> Catalog::NotePull(std::string_view kind, std::string_view name, std::string_view journal_record) {
  std::lock_guard lock(writer_mutex_);
  ASSIGN_OR_RETURN(auto tx, writer_->Begin());
  RETURN_IF_ERROR(Append(kind, name, journal_record));
  return tx.Commit();
}

Result<std::vector<PullIntent>> Catalog::OpenPulls() {
  std::lock_guard lock(reader_mutex_);
  std::vector<PullIntent> pulls;
  RETURN_IF_ERROR(reader_->Query("SELECT id, name, started FROM pulls ORDER BY id", [&](const Row& row) -> Result<> {
    pulls.push_back({row.Int(0), std::string(row.Text(1)), Wall(row.Int(2))});
    return {};
  }));
  return pulls;
}

Result<> Catalog::AddBlob(const BlobRecord& blob) {
  std::lock_guard lock(writer_mutex_);
  const Change change{version_};
  // A file that was found without a row counts as a document until it turns out to be a layer's, unless somebody needs it as one.
  return writer_->Run(
      Sql({"INSERT INTO blobs VALUES(?, ?, ?, ?) ON CONFLICT DO UPDATE SET bytes = excluded.bytes, kind = CASE WHEN ", kNeededAsDocument,
           " THEN kind ELSE MAX(kind, excluded.kind) END"}),
      blob.digest.ToString(), blob.bytes, static_cast<int>(blob.kind), Nanos(clock_.WallNow()));
}

Result<> Catalog::AddLayer(const LayerRecord& layer) {
  std::lock_guard lock(writer_mutex_);
  const Change change{version_};
  if (!marked_) RETURN_IF_ERROR(writer_->Run(kMark));
  marked_ = true;
  return writer_->Run(
      "INSERT INTO layers VALUES(?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
      " diff_id = excluded.diff_id, compressed = excluded.compressed, uncompressed = excluded.uncompressed,"
      " stored = excluded.stored, entries = excluded.entries",
      layer.blob.ToString(), layer.diff_id.ToString(), layer.compressed_bytes, layer.uncompressed_bytes, layer.stored_bytes,
      layer.entries, Nanos(clock_.WallNow()));
}

Result<> Catalog::PublishImage(const Publication& p) {
  std::lock_guard lock(writer_mutex_);
  const Change change{version_};
  ASSIGN_OR_RETURN(auto tx, writer_->Begin());
  const std::int64_t now = Nanos(clock_.WallNow());
  for (const auto& document : p.documents)
    RETURN_IF_ERROR(writer_->Run("INSERT INTO blobs VALUES(?, ?, ?, ?) ON CONFLICT DO UPDATE SET kind = excluded.kind", document.digest.ToString(),
                                 document.bytes, static_cast<int>(document.kind), now));
  for (const auto& image : p.images) {
    const std::string manifest = image.manifest.ToString();
    RETURN_IF_ERROR(writer_->Run("INSERT INTO images VALUES(?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET pulled = excluded.pulled", manifest,
                                 image.config.ToString(), image.platform, image.size, now));
    RETURN_IF_ERROR(writer_->Run("DELETE FROM image_layers WHERE manifest = ?", manifest));
    for (std::size_t i = 0; i < image.layers.size(); ++i)
      RETURN_IF_ERROR(writer_->Run("INSERT INTO image_layers VALUES(?, ?, ?, ?, ?)", manifest, static_cast<std::int64_t>(i),
                                   image.layers[i].blob.ToString(), image.layers[i].diff_id.ToString(), image.layers[i].variant));
  }
  const auto write_name = [&](std::string_view name, bool implied) -> Result<> {
    // Another platform of the same index adds to what is here; a tag that moved starts anew, also when it moved to what its old
    // index has: a verdict is on the target, and covers nothing beside it.
    for (const char* table : {"name_images", "name_documents"})
      RETURN_IF_ERROR(writer_->Run(
          Sql({"DELETE FROM ", table, " WHERE name = ?1 AND EXISTS(SELECT 1 FROM names WHERE name = ?1 AND target <> ?2)"}), name,
          p.target.ToString()));
    // An explicit name stays explicit when it comes along with a tag later.
    RETURN_IF_ERROR(writer_->Run(
        "INSERT INTO names VALUES(?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET target = excluded.target,"
        " media_type = excluded.media_type, implied = MIN(implied, excluded.implied), updated = excluded.updated",
        name, p.target.ToString(), p.media_type, implied, now));
    for (const auto& document : p.documents)
      RETURN_IF_ERROR(writer_->Run("INSERT INTO name_documents VALUES(?, ?) ON CONFLICT DO NOTHING", name, document.digest.ToString()));
    for (const auto& image : p.images)
      RETURN_IF_ERROR(writer_->Run(
          "INSERT INTO name_images SELECT ?1, COALESCE((SELECT MAX(position) + 1 FROM name_images WHERE name = ?1), 0), ?2"
          " WHERE NOT EXISTS(SELECT 1 FROM name_images WHERE name = ?1 AND manifest = ?2)",
          name, image.manifest.ToString()));
    return {};
  };
  RETURN_IF_ERROR(write_name(p.name, false));
  if (p.implied_name && *p.implied_name != p.name) RETURN_IF_ERROR(write_name(*p.implied_name, true));
  if (p.verdict) RETURN_IF_ERROR(WriteVerdict(*p.verdict));
  RETURN_IF_ERROR(DropOrphanVerdicts());
  if (p.pull) RETURN_IF_ERROR(writer_->Run("DELETE FROM pulls WHERE id = ?", *p.pull));
  if (!p.journal.empty()) RETURN_IF_ERROR(Append("pulled", p.name, p.journal));
  return tx.Commit();
}

// --- verdicts

Result<> Catalog::WriteVerdict(const VerdictRecord& verdict) {
  return writer_->Run("INSERT OR REPLACE INTO verdicts VALUES(?, ?, ?, ?)", verdict.subject, verdict.target.ToString(), verdict.record,
                      Nanos(clock_.WallNow()));
}

Result<> Catalog::DropOrphanVerdicts() { return writer_->Run("DELETE FROM verdicts WHERE target NOT IN (SELECT target FROM names)"); }

Result<> Catalog::KeepVerdict(const VerdictRecord& verdict) {
  std::lock_guard lock(writer_mutex_);
  return WriteVerdict(verdict);
}

Result<std::optional<VerdictRecord>> Catalog::FindVerdict(std::string_view subject) {
  std::lock_guard lock(reader_mutex_);
  std::optional<VerdictRecord> found;
  RETURN_IF_ERROR(reader_->Query("SELECT subject, target, record FROM verdicts WHERE subject = ?", [&](const Row& row) -> Result<> {
    found = VerdictRecord{.subject = std::string(row.Text(0)), .record = std::string(row.Text(2))};
    ASSIGN_OR_RETURN(found->target, DigestAt(row, 1));
    return {};
  }, subject));
  return found;
}

// --- questions

Result<std::optional<NameRecord>> Catalog::FindName(std::string_view name) {
  std::lock_guard lock(reader_mutex_);
  ASSIGN_OR_RETURN([[maybe_unused]] const auto one_state, reader_->Snapshot());
  std::optional<NameRecord> found;
  RETURN_IF_ERROR(reader_->Query(Sql({kNameColumns, "WHERE name = ?"}), [&](const Row& row) -> Result<> {
    ASSIGN_OR_RETURN(found, NameAt(row));
    return {};
  }, name));
  if (found) RETURN_IF_ERROR(CompleteName(*reader_, *found));
  return found;
}

Result<std::vector<NameRecord>> Catalog::ListNames() {
  std::lock_guard lock(reader_mutex_);
  ASSIGN_OR_RETURN([[maybe_unused]] const auto one_state, reader_->Snapshot());
  std::vector<NameRecord> names;
  RETURN_IF_ERROR(reader_->Query(Sql({kNameColumns, "ORDER BY name"}), [&](const Row& row) -> Result<> {
    ASSIGN_OR_RETURN(names.emplace_back(), NameAt(row));
    return {};
  }));
  for (auto& name : names) RETURN_IF_ERROR(CompleteName(*reader_, name));
  return names;
}

Result<std::optional<ImageRecord>> Catalog::FindImage(const Digest& manifest) {
  std::lock_guard lock(reader_mutex_);
  ASSIGN_OR_RETURN([[maybe_unused]] const auto one_state, reader_->Snapshot());
  std::optional<ImageRecord> found;
  RETURN_IF_ERROR(reader_->Query(Sql({kImageColumns, "WHERE i.manifest = ?"}), [&](const Row& row) -> Result<> {
    ASSIGN_OR_RETURN(found, ImageAt(row));
    return {};
  }, manifest.ToString()));
  if (found) RETURN_IF_ERROR(Complete(*reader_, *found));
  return found;
}

Result<std::vector<ImageRecord>> Catalog::FindImagesById(std::string_view id) {
  std::vector<ImageRecord> found;
  const std::size_t colon = id.find(':');
  const std::string_view hex = colon == id.npos ? id : id.substr(colon + 1);
  if (hex.size() < 4 || hex.find_first_not_of("0123456789abcdef") != hex.npos) return found;
  std::lock_guard lock(reader_mutex_);
  ASSIGN_OR_RETURN([[maybe_unused]] const auto one_state, reader_->Snapshot());
  // Digits alone are those of any algorithm: what follows its colon.
  const auto begins = [&](std::string_view digest) {
    return colon == id.npos ? Sql({"substr(", digest, ", instr(", digest, ", ':') + 1, length(?1)) = ?1"})
                            : Sql({"substr(", digest, ", 1, length(?1)) = ?1"});
  };
  RETURN_IF_ERROR(reader_->Query(
      Sql({kImageColumns, "WHERE ", begins("i.config"), " OR ", begins("i.manifest"), " ORDER BY i.manifest"}),
      [&](const Row& row) -> Result<> {
        ASSIGN_OR_RETURN(found.emplace_back(), ImageAt(row));
        return {};
      },
      id));
  for (auto& image : found) RETURN_IF_ERROR(Complete(*reader_, image));
  return found;
}

Result<std::vector<ImageRecord>> Catalog::ListImages() {
  std::lock_guard lock(reader_mutex_);
  ASSIGN_OR_RETURN([[maybe_unused]] const auto one_state, reader_->Snapshot());
  std::vector<ImageRecord> images;
  std::map<std::string, std::size_t, std::less<>> place;
  RETURN_IF_ERROR(reader_->Query(Sql({kImageColumns, "ORDER BY i.pulled DESC, i.manifest"}), [&](const Row& row) -> Result<> {
    place.emplace(row.Text(0), images.size());
    ASSIGN_OR_RETURN(images.emplace_back(), ImageAt(row));
    return {};
  }));
  // Three scans instead of two look-ups per image: a list of 1,000 images stays a matter of milliseconds.
  RETURN_IF_ERROR(reader_->Query("SELECT manifest, blob, diff_id, variant FROM image_layers ORDER BY manifest, position",
                                 [&](const Row& row) -> Result<> {
                                   ImageLayer layer;
                                   ASSIGN_OR_RETURN(layer.blob, DigestAt(row, 1));
                                   ASSIGN_OR_RETURN(layer.diff_id, DigestAt(row, 2));
                                   layer.variant = row.Text(3);
                                   if (const auto at = place.find(row.Text(0)); at != place.end())
                                     images[at->second].layers.push_back(std::move(layer));
                                   return {};
                                 }));
  RETURN_IF_ERROR(reader_->Query("SELECT m.manifest, n.name FROM name_images m JOIN names n USING(name) ORDER BY n.implied, n.name",
                                 [&](const Row& row) -> Result<> {
                                   if (const auto at = place.find(row.Text(0)); at != place.end())
                                     images[at->second].names.emplace_back(row.Text(1));
                                   return {};
                                 }));
  return images;
}

Result<std::optional<LayerRecord>> Catalog::FindLayer(const Digest& blob) {
  std::lock_guard lock(reader_mutex_);
  std::optional<LayerRecord> found;
  RETURN_IF_ERROR(reader_->Query(Sql({kLayerColumns, "WHERE blob = ?"}), [&](const Row& row) -> Result<> {
    ASSIGN_OR_RETURN(found, LayerAt(row));
    return {};
  }, blob.ToString()));
  return found;
}

Result<std::vector<LayerRecord>> Catalog::ListLayers() {
  std::lock_guard lock(reader_mutex_);
  std::vector<LayerRecord> layers;
  RETURN_IF_ERROR(reader_->Query(Sql({kLayerColumns, "ORDER BY blob"}), [&](const Row& row) -> Result<> {
    ASSIGN_OR_RETURN(layers.emplace_back(), LayerAt(row));
    return {};
  }));
  return layers;
}

Result<std::vector<BlobRecord>> Catalog::ListBlobs() {
  std::lock_guard lock(reader_mutex_);
  std::vector<BlobRecord> blobs;
  RETURN_IF_ERROR(reader_->Query("SELECT digest, bytes, kind FROM blobs ORDER BY digest", [&](const Row& row) -> Result<> {
    ASSIGN_OR_RETURN(blobs.emplace_back(), BlobAt(row));
    return {};
  }));
  return blobs;
}

Result<std::map<std::string, std::vector<Digest>>> Catalog::ListDocuments() {
  std::lock_guard lock(reader_mutex_);
  std::map<std::string, std::vector<Digest>> documents;
  RETURN_IF_ERROR(reader_->Query("SELECT name, digest FROM name_documents ORDER BY name, digest", [&](const Row& row) -> Result<> {
    ASSIGN_OR_RETURN(documents[std::string(row.Text(0))].emplace_back(), DigestAt(row, 1));
    return {};
  }));
  return documents;
}

Result<bool> Catalog::HasBlob(const Digest& digest) {
  std::lock_guard lock(reader_mutex_);
  bool found = false;
  RETURN_IF_ERROR(reader_->Query("SELECT 1 FROM blobs WHERE digest = ?", [&](const Row&) -> Result<> { found = true; return {}; },
                                 digest.ToString()));
  return found;
}

Result<Usage> Catalog::Measure() {
  std::lock_guard lock(reader_mutex_);
  ASSIGN_OR_RETURN([[maybe_unused]] const auto one_state, reader_->Snapshot());
  Usage usage;
  const auto read = [&](std::uint64_t& into, std::string_view sql) -> Result<> {
    ASSIGN_OR_RETURN(const std::int64_t number, Number(*reader_, sql));
    into = static_cast<std::uint64_t>(number);
    return {};
  };
  RETURN_IF_ERROR(read(usage.images, "SELECT COUNT(*) FROM images"));
  RETURN_IF_ERROR(read(usage.names, "SELECT COUNT(*) FROM names WHERE implied = 0"));
  RETURN_IF_ERROR(read(usage.layers, "SELECT COUNT(*) FROM layers"));
  RETURN_IF_ERROR(read(usage.layer_bytes, "SELECT COALESCE(SUM(stored), 0) FROM layers"));
  RETURN_IF_ERROR(read(usage.shared_bytes,
                       "SELECT COALESCE(SUM(stored), 0) FROM layers WHERE"
                       " (SELECT COUNT(DISTINCT manifest) FROM image_layers r WHERE r.blob = layers.blob) > 1"));
  RETURN_IF_ERROR(read(usage.compressed_bytes, "SELECT COALESCE(SUM(bytes), 0) FROM blobs WHERE kind = 1"));
  RETURN_IF_ERROR(read(usage.document_bytes, "SELECT COALESCE(SUM(bytes), 0) FROM blobs WHERE kind = 0"));
  RETURN_IF_ERROR(read(usage.entries, "SELECT COALESCE(SUM(entries), 0) FROM layers"));
  RETURN_IF_ERROR(read(usage.blobs, "SELECT COUNT(*) FROM blobs"));
  RETURN_IF_ERROR(read(usage.unreferenced_bytes, Sql({"SELECT COALESCE(SUM(stored), 0) FROM layers WHERE ", kLayerIsFree})));
  return usage;
}

// --- removal

// What must not go stops the whole removal (the transaction is rolled back). `which`: a condition on images, with ?1.
Result<> Catalog::Refuse(std::string_view which, std::string_view manifest, const Removal& how) {
  bool mounted = false;
  std::optional<Pin> pin;
  RETURN_IF_ERROR(writer_->Query(Sql({"SELECT EXISTS(SELECT 1 FROM mounts m WHERE m.manifest = images.manifest), p.owner, p.reason, p.since"
                                      " FROM images LEFT JOIN pins p USING(config) WHERE ", which}),
                                 [&](const Row& row) -> Result<> {
                                   mounted = mounted || row.Int(0) != 0;
                                   if (!row.IsNull(3)) pin = Pin{std::string(row.Text(1)), std::string(row.Text(2)), Wall(row.Int(3))};
                                   return {};
                                 }, manifest));
  if (mounted) return Mounted();
  if (pin && !how.pinned) return Pinned(*pin);
  if (!pin) return {};
  return writer_->Run(Sql({"DELETE FROM pins WHERE config IN (SELECT config FROM images WHERE ", which, ")"}), manifest);
}

// An image goes when its last name goes.
Result<> Catalog::DropOrphanImages(const Removal& how) {
  const std::string orphan = Sql({"?1 = '' AND ", kNameless});
  RETURN_IF_ERROR(Refuse(orphan, "", how));
  RETURN_IF_ERROR(writer_->Run(Sql({"DELETE FROM images WHERE ", orphan}), ""));
  return DropLoose();
}

// What belonged to images and names that are gone.
Result<> Catalog::DropLoose() {
  RETURN_IF_ERROR(DropOrphanVerdicts());
  return writer_->Run("DELETE FROM image_use WHERE NOT EXISTS(SELECT 1 FROM images i WHERE i.config = image_use.config)");
}

Result<bool> Catalog::RemoveName(std::string_view name, const Removal& how) {
  return WithReserve([&] { return RemoveNameOnce(name, how); });
}

Result<bool> Catalog::RemoveNameOnce(std::string_view name, const Removal& how) {
  std::lock_guard lock(writer_mutex_);
  const Change change{version_};
  ASSIGN_OR_RETURN(auto tx, writer_->Begin());
  std::string target;
  RETURN_IF_ERROR(writer_->Query("SELECT target FROM names WHERE name = ?", [&](const Row& r) -> Result<> { target = r.Text(0); return {}; }, name));
  if (target.empty()) return false;
  RETURN_IF_ERROR(writer_->Run("DELETE FROM names WHERE name = ?", name));
  // repository@target stays as long as that repository has a name for the target: another's may have fewer of its images.
  RETURN_IF_ERROR(writer_->Run(
      "DELETE FROM names WHERE target = ?1 AND implied = 1 AND NOT EXISTS(SELECT 1 FROM names n WHERE n.target = ?1 AND n.implied = 0"
      " AND substr(n.name, 1, instr(names.name, '@')) IN"
      " (substr(names.name, 1, instr(names.name, '@')), substr(names.name, 1, instr(names.name, '@') - 1) || ':'))", target));
  RETURN_IF_ERROR(DropOrphanImages(how));
  RETURN_IF_ERROR(Append("removed", name, how.record));
  RETURN_IF_ERROR(tx.Commit());
  return true;
}

Result<bool> Catalog::RemoveImage(const Digest& manifest, const Removal& how) {
  return WithReserve([&] { return RemoveImageOnce(manifest, how); });
}

Result<bool> Catalog::RemoveImageOnce(const Digest& manifest, const Removal& how) {
  std::lock_guard lock(writer_mutex_);
  const Change change{version_};
  ASSIGN_OR_RETURN(auto tx, writer_->Begin());
  const std::string text = manifest.ToString();
  bool there = false;
  RETURN_IF_ERROR(writer_->Query("SELECT 1 FROM images WHERE manifest = ?", [&](const Row&) -> Result<> { there = true; return {}; }, text));
  if (!there) return false;
  RETURN_IF_ERROR(Refuse("manifest = ?1", text, how));
  RETURN_IF_ERROR(writer_->Run("DELETE FROM images WHERE manifest = ?", text));
  constexpr std::string_view kEmpty = " FROM names WHERE NOT EXISTS(SELECT 1 FROM name_images n WHERE n.name = names.name)";
  std::vector<std::string> names;
  RETURN_IF_ERROR(writer_->Query(Sql({"SELECT name", kEmpty, " AND implied = 0"}),
                                 [&](const Row& row) -> Result<> { names.emplace_back(row.Text(0)); return {}; }));
  RETURN_IF_ERROR(writer_->Run(Sql({"DELETE", kEmpty})));
  RETURN_IF_ERROR(DropLoose());
  for (const auto& name : names) RETURN_IF_ERROR(Append("removed", name, how.record));
  RETURN_IF_ERROR(Append("removed", text, how.record));
  RETURN_IF_ERROR(tx.Commit());
  return true;
}

Result<Unreferenced> Catalog::FindUnreferenced(time::WallTime before) {
  std::lock_guard lock(reader_mutex_);
  ASSIGN_OR_RETURN([[maybe_unused]] const auto one_state, reader_->Snapshot());
  Unreferenced free;
  const std::int64_t now = Nanos(clock_.WallNow());
  RETURN_IF_ERROR(reader_->Query(Sql({"SELECT blob FROM layers WHERE (added < ?1 OR added > ?2) AND ", kLayerIsFree}), [&](const Row& row) -> Result<> {
    ASSIGN_OR_RETURN(free.layers.emplace_back(), DigestAt(row, 0));
    return {};
  }, Nanos(before), now));
  RETURN_IF_ERROR(reader_->Query(Sql({"SELECT digest, bytes, kind FROM blobs WHERE (added < ?1 OR added > ?2) AND NOT ", kNeededAsDocument,
                                     " AND NOT ", kNeededByLayer}), [&](const Row& row) -> Result<> {
    ASSIGN_OR_RETURN(free.blobs.emplace_back(), BlobAt(row));
    return {};
  }, Nanos(before), now));
  return free;
}

Result<Unreferenced> Catalog::Forget(const Unreferenced& objects) {
  return WithReserve([&] { return ForgetOnce(objects); });
}

Result<Unreferenced> Catalog::ForgetOnce(const Unreferenced& objects) {
  std::lock_guard lock(writer_mutex_);
  const Change change{version_};
  ASSIGN_OR_RETURN(auto tx, writer_->Begin());
  Unreferenced gone;
  for (const auto& layer : objects.layers) {
    RETURN_IF_ERROR(writer_->Run(Sql({"DELETE FROM layers WHERE blob = ? AND ", kLayerIsFree}), layer.ToString()));
    if (writer_->changes() > 0) gone.layers.push_back(layer);
  }
  for (const auto& blob : objects.blobs) {
    RETURN_IF_ERROR(writer_->Run(Sql({"DELETE FROM blobs WHERE digest = ? AND NOT ", kNeededAsDocument, " AND NOT ", kNeededByLayer}), blob.digest.ToString()));
    if (writer_->changes() > 0) gone.blobs.push_back(blob);
  }
  RETURN_IF_ERROR(tx.Commit());
  return gone;
}

Result<> Catalog::ForgetDamaged(const Digest& object) {
  return WithReserve([&] { return ForgetDamagedOnce(object); });
}

Result<> Catalog::ForgetDamagedOnce(const Digest& object) {
  std::lock_guard lock(writer_mutex_);
  const Change change{version_};
  ASSIGN_OR_RETURN(auto tx, writer_->Begin());
  const std::string text = object.ToString();
  // A mount goes on, with the files that it has open; there is only nothing left that it is of.
  const auto forget_images = [&](std::string_view which) -> Result<> {
    RETURN_IF_ERROR(writer_->Run(Sql({"DELETE FROM mounts WHERE manifest IN (SELECT manifest FROM images WHERE ", which, ")"}), text));
    return writer_->Run(Sql({"DELETE FROM images WHERE ", which}), text);
  };
  RETURN_IF_ERROR(forget_images("manifest = ?1 OR config = ?1 OR manifest IN (SELECT manifest FROM image_layers WHERE blob = ?1)"));
  RETURN_IF_ERROR(writer_->Run("DELETE FROM names WHERE NOT EXISTS(SELECT 1 FROM name_images n WHERE n.name = names.name)"
                               " OR EXISTS(SELECT 1 FROM name_documents d WHERE d.name = names.name AND d.digest = ?)", text));
  RETURN_IF_ERROR(forget_images(Sql({"?1 <> '' AND ", kNameless})));
  RETURN_IF_ERROR(writer_->Run("DELETE FROM layers WHERE blob = ?", text));
  RETURN_IF_ERROR(writer_->Run("DELETE FROM blobs WHERE digest = ?", text));
  return tx.Commit();
}

Result<> Catalog::ForgetBlob(const Digest& blob) {
  std::lock_guard lock(writer_mutex_);
  const Change change{version_};
  return WithReserve([&] { return writer_->Run("DELETE FROM blobs WHERE digest = ? AND kind = 1", blob.ToString()); });
}

Result<std::vector<std::string>> Catalog::NamesThatNeed(const Digest& object) {
  std::lock_guard lock(reader_mutex_);
  std::vector<std::string> names;
  RETURN_IF_ERROR(reader_->Query(
      "SELECT name FROM name_documents WHERE digest = ?1 UNION SELECT m.name FROM name_images m JOIN image_layers l USING(manifest)"
      " WHERE l.blob = ?1 ORDER BY name",
      [&](const Row& row) -> Result<> { names.emplace_back(row.Text(0)); return {}; }, object.ToString()));
  return names;
}

// --- pins and use

Result<> Catalog::SetPin(const Digest& config, const Pin& pin) {
  std::lock_guard lock(writer_mutex_);
  const Change change{version_};
  return writer_->Run("INSERT INTO pins VALUES(?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                      " owner = excluded.owner, reason = excluded.reason, since = excluded.since",
                      config.ToString(), pin.owner, pin.reason, Nanos(pin.since));
}

Result<bool> Catalog::RemovePin(const Digest& config) {
  std::lock_guard lock(writer_mutex_);
  const Change change{version_};
  RETURN_IF_ERROR(WithReserve([&] { return writer_->Run("DELETE FROM pins WHERE config = ?", config.ToString()); }));
  return writer_->changes() > 0;
}

Result<> Catalog::MarkUsed(const std::vector<Digest>& configs, time::WallTime at) {
  if (configs.empty()) return {};
  std::lock_guard lock(writer_mutex_);
  ASSIGN_OR_RETURN(auto tx, writer_->Begin());
  for (const auto& config : configs)
    RETURN_IF_ERROR(writer_->Run("INSERT INTO image_use SELECT ?1, ?2 WHERE EXISTS(SELECT 1 FROM images WHERE config = ?1)"
                                 " ON CONFLICT DO UPDATE SET last_used = MAX(last_used, excluded.last_used)", config.ToString(), Nanos(at)));
  return tx.Commit();
}

// --- mounts

Result<> Catalog::AddMount(const MountRecord& mount) {
  std::lock_guard lock(writer_mutex_);
  RETURN_IF_ERROR(writer_->Run("INSERT INTO mounts SELECT ?1, manifest, ?3 FROM images WHERE manifest = ?2", mount.target,
                               mount.manifest.ToString(), mount.writable));
  if (writer_->changes() == 0) return Error(Reason::kNotFound, "the image was removed a moment ago").Next("pull it again");
  return {};
}

Result<bool> Catalog::RemoveMount(std::string_view target) {
  std::lock_guard lock(writer_mutex_);
  RETURN_IF_ERROR(WithReserve([&] { return writer_->Run("DELETE FROM mounts WHERE target = ?", target); }));
  return writer_->changes() > 0;
}

Result<std::vector<MountRecord>> Catalog::ListMounts() {
  std::lock_guard lock(reader_mutex_);
  std::vector<MountRecord> mounts;
  RETURN_IF_ERROR(reader_->Query("SELECT target, manifest, writable FROM mounts ORDER BY target", [&](const Row& row) -> Result<> {
    ASSIGN_OR_RETURN(Digest manifest, DigestAt(row, 1));
    mounts.push_back({std::string(row.Text(0)), manifest, row.Int(2) != 0});
    return {};
  }));
  return mounts;
}

// --- journal

// Within the caller's transaction, under writer_mutex_.
Result<> Catalog::Append(std::string_view kind, std::string_view image, std::string_view record) {
  RETURN_IF_ERROR(writer_->Run("INSERT INTO journal(at, kind, image, record) VALUES(?, ?, ?, ?)", Nanos(clock_.WallNow()), kind, image, record));
  RETURN_IF_ERROR(writer_->Run("DELETE FROM journal WHERE id <= ?", writer_->last_row_id() - static_cast<std::int64_t>(journal_limits_.entries)));
  return DropOldEntries();
}

// Entries have their order from their ids: only those before the first that is young enough are looked at.
Result<> Catalog::DropOldEntries() {
  if (journal_limits_.age <= time::Duration::zero()) return {};
  return writer_->Run("DELETE FROM journal WHERE id < COALESCE((SELECT id FROM journal WHERE at >= ? ORDER BY id LIMIT 1), 9223372036854775807)",
                      Nanos(clock_.WallNow() - journal_limits_.age));
}

Result<> Catalog::TrimJournal() {
  std::lock_guard lock(writer_mutex_);
  return WithReserve([&] { return DropOldEntries(); });
}

namespace {
JournalEntry EntryAt(const Row& row) {
  return {row.Int(0), Wall(row.Int(1)), std::string(row.Text(2)), std::string(row.Text(3)), std::string(row.Text(4))};
}
}  // namespace

Result<std::vector<JournalEntry>> Catalog::Journal(std::size_t newest) {
  std::lock_guard lock(reader_mutex_);
  std::vector<JournalEntry> entries;
  RETURN_IF_ERROR(reader_->Query("SELECT id, at, kind, image, record FROM journal ORDER BY id DESC LIMIT ?",
                                 [&](const Row& row) -> Result<> { entries.push_back(EntryAt(row)); return {}; }, std::uint64_t{newest}));
  std::ranges::reverse(entries);
  return entries;
}

Result<std::optional<JournalEntry>> Catalog::LastOf(std::string_view image, std::string_view kind) {
  std::lock_guard lock(reader_mutex_);
  std::optional<JournalEntry> found;
  RETURN_IF_ERROR(reader_->Query("SELECT id, at, kind, image, record FROM journal WHERE image = ?1 AND (?2 = '' OR kind = ?2) ORDER BY id DESC LIMIT 1",
                                 [&](const Row& row) -> Result<> { found = EntryAt(row); return {}; }, image, kind));
  return found;
}

Result<bool> Catalog::Empty() {
  std::lock_guard lock(reader_mutex_);
  std::string sql = "SELECT 1 WHERE (SELECT application_id FROM pragma_application_id) = 0";
  for (const char* table : {"layers", "blobs", "images", "names", "pulls", "journal", "verdicts", "pins", "image_use"})
    sql += " AND NOT EXISTS(SELECT 1 FROM " + std::string(table) + ")";
  bool empty = false;
  RETURN_IF_ERROR(reader_->Query(sql, [&](const Row&) -> Result<> { empty = true; return {}; }));
  return empty;
}

Result<std::map<std::string, std::string>> Catalog::Sources() {
  std::lock_guard lock(reader_mutex_);
  std::map<std::string, std::string> hosts;
  // With MAX(), SQLite takes the other columns from the row that has it.
  RETURN_IF_ERROR(reader_->Query("SELECT image, CASE WHEN json_valid(record) THEN json_extract(record, '$.host') END, MAX(id) FROM journal"
                                 " WHERE kind = 'pulled' GROUP BY image",
                                 [&](const Row& row) -> Result<> {
                                   if (!row.IsNull(1) && !row.Text(1).empty()) hosts.emplace(row.Text(0), row.Text(1));
                                   return {};
                                 }));
  return hosts;
}

Result<std::string> Catalog::Check() {
  std::lock_guard lock(reader_mutex_);
  return reader_->QuickCheck();
}

}  // namespace berth::catalog
