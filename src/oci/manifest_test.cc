#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "bytes/encoding.h"
#include "oci/oci.h"
#include "oci/testing/documents.h"

namespace berth::oci {
namespace {

using namespace oci::testing;
using ::testing::HasSubstr;

std::string Times(std::size_t n, std::string_view piece) {
  std::string out;
  out.reserve(n * piece.size());
  while (n-- > 0) out += piece;
  return out;
}

// `text` with the first `from` replaced. A `from` that is not there is a mistake of the test.
std::string With(std::string text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

std::string ManifestWithout(std::string_view part) { return With(ManifestText(), part, ""); }
std::string LayerOf(std::string_view size) { return ManifestText({DescriptorText(kLayerGzip, DigestOf('a'), size)}); }
std::string LayerDigest(const std::string& digest) { return ManifestText({DescriptorText(kLayerGzip, digest)}); }
std::string LayerWith(std::string_view more) { return ManifestText({DescriptorText(kLayerGzip, DigestOf('a'), "7", more)}); }
std::string Layers(std::size_t n) { return ManifestText(std::vector<std::string>(n, DescriptorText(kLayerGzip))); }
std::string Padded(std::size_t bytes) {
  std::string out = ManifestText();
  return out + std::string(bytes - out.size(), ' ');
}
std::string Annotated(const std::string& key, const std::string& value) {
  return ManifestText({DescriptorText(kLayerGzip)}, ConfigDescriptor(), R"(,"annotations":{")" + key + R"(":")" + value + "\"}");
}
std::string InlineData(std::string_view data, const std::string& base64) {
  return ManifestText({DescriptorText(kLayerGzip, digest::Digest::Of(bytes::AsView(data)).ToString(), std::to_string(data.size()),
                                      R"(,"data":")" + base64 + '"')});
}

struct Row {
  std::string name, text;
  std::optional<Reason> reason;     // nullopt: accepted
  std::string content_type = {};
  std::string words = {};           // within the error
};
std::ostream& operator<<(std::ostream& out, const Row& row) { return out << row.text.substr(0, 200); }

class Documents : public ::testing::TestWithParam<Row> {};

TEST_P(Documents, GetTheVerdictOfTheTable) {
  const Row& row = GetParam();
  const auto got = ParseManifestOrIndex(row.text, row.content_type);
  ASSERT_EQ(got.has_value(), !row.reason) << (got ? "accepted" : got.error().Text());
  if (got) {
    EXPECT_EQ(std::visit([](const auto& document) { return document.raw(); }, *got), row.text);
    return;
  }
  EXPECT_EQ(got.error().reason(), *row.reason) << got.error().Text();
  EXPECT_THAT(got.error().Text(), HasSubstr(row.words));
  EXPECT_LE(got.error().Text().size(), 1024u);
}

constexpr Reason kInvalid = Reason::kInvalidManifest;
constexpr Reason kDigest = Reason::kInvalidDigest;
constexpr Reason kLimit = Reason::kLimitExceeded;
constexpr Reason kUnsupported = Reason::kUnsupported;
constexpr std::string_view kSchema1 = "application/vnd.docker.distribution.manifest.v1+json";
constexpr std::string_view kSigned = "application/vnd.docker.distribution.manifest.v1+prettyjws";
const std::string kIndex = IndexText({Entry("linux/amd64")});
const std::string kTwoPart = R"("config":)" + ConfigDescriptor();

INSTANTIATE_TEST_SUITE_P(
    Confusion, Documents,
    ::testing::Values(
        Row{"B01_manifest_with_manifests", ManifestText({}, ConfigDescriptor(), R"(,"manifests":[])"), kInvalid},
        Row{"B01_null_is_there_too", ManifestText({}, ConfigDescriptor(), R"(,"manifests":null)"), kInvalid},
        Row{"B02_index_with_config_and_layers", IndexText({}, "," + kTwoPart + R"(,"layers":[])"), kInvalid},
        Row{"B02_index_with_layers", IndexText({}, R"(,"layers":[])"), kInvalid},
        Row{"B02_index_with_config", IndexText({}, "," + kTwoPart), kInvalid},
        Row{"B03_called_manifest_is_index", kIndex, kInvalid, std::string(kOciManifest)},
        Row{"B03_called_index_is_manifest", ManifestText(), kInvalid, std::string(kOciIndex)},
        Row{"B03_calls_itself_manifest_is_index", IndexText({}, "", kOciManifest), kInvalid},
        Row{"B03_calls_itself_index_is_manifest", ManifestText({}, ConfigDescriptor(), "", kOciIndex), kInvalid},
        Row{"B03_untyped_called_manifest_is_index", R"({"schemaVersion":2,"manifests":[]})", kInvalid, std::string(kOciManifest)},
        Row{"B03_docker_called_oci", ManifestText({}, ConfigDescriptor(), "", kDockerManifest), kInvalid, std::string(kOciManifest),
            "announced as"},
        Row{"agreeing_with_parameters", ManifestText(), {}, "Application/vnd.OCI.image.manifest.v1+json; charset=utf-8"},
        Row{"generic_json", ManifestText(), {}, "application/json"}, Row{"generic_bytes", kIndex, {}, "application/octet-stream"},
        Row{"generic_text", kIndex, {}, "text/plain; charset=utf-8"},
        Row{"untyped_called_docker", ManifestWithout(R"("mediaType":"application/vnd.oci.image.manifest.v1+json",)"), {},
            std::string(kDockerManifest)},
        Row{"foreign_content_type", ManifestText(), kUnsupported, "text/html"},
        Row{"foreign_media_type", IndexText({}, "", "application/vnd.x+json"), kUnsupported},
        Row{"artifact_manifest", R"({"mediaType":"application/vnd.oci.artifact.manifest.v1+json","blobs":[]})", kUnsupported},
        Row{"B04_fs_layers", ManifestText({}, ConfigDescriptor(), R"(,"fsLayers":[])"), kInvalid, "", "fsLayers"},
        Row{"B04_history", ManifestText({}, ConfigDescriptor(), R"(,"history":[])"), kInvalid, "", "history"},
        Row{"B04_signatures", ManifestText({}, ConfigDescriptor(), R"(,"signatures":[])"), kInvalid, "", "signatures"},
        Row{"B04_index_with_fs_layers", IndexText({}, R"(,"fsLayers":null)"), kInvalid},
        Row{"B05_schema1", R"({"schemaVersion":1,"name":"a","tag":"b","fsLayers":[],"history":[]})", kUnsupported, "", "schema 1"},
        Row{"B05_schema1_signed", R"({"schemaVersion":1,"fsLayers":[],"signatures":[{}]})", kUnsupported, "", "schema 1"},
        Row{"B05_schema1_by_type", ManifestText(), kUnsupported, std::string(kSchema1), "schema 1"},
        Row{"B05_signed_by_type", "anything", kUnsupported, std::string(kSigned), "schema 1"},
        Row{"B05_schema1_by_own_type", ManifestText({}, ConfigDescriptor(), "", kSigned), kUnsupported, "", "schema 1"},
        Row{"B05_version_3", With(ManifestText(), ":2,", ":3,"), kUnsupported},
        Row{"B05_version_real", With(ManifestText(), ":2,", ":2.0,"), kUnsupported},
        Row{"B05_version_text", With(ManifestText(), ":2,", R"(:"2",)"), kUnsupported},
        Row{"B05_version_null", With(ManifestText(), ":2,", ":null,"), kUnsupported},
        Row{"B05_version_absent", ManifestWithout(R"("schemaVersion":2,)"), kUnsupported},
        Row{"neither", R"({"schemaVersion":2})", kInvalid}),
    [](const auto& row) { return row.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Json, Documents,
    ::testing::Values(
        Row{"B06_layers_twice", ManifestText({}, ConfigDescriptor(), R"(,"layers":[])"), kInvalid, "", "twice"},
        Row{"B07_config_twice", ManifestText({}, ConfigDescriptor(), "," + kTwoPart), kInvalid, "", "twice"},
        Row{"B07_media_type_twice", ManifestText({}, ConfigDescriptor(), R"(,"mediaType":"a")"), kInvalid, "", "twice"},
        Row{"B07_digest_twice", LayerWith(R"(,"digest":")" + DigestOf('b') + '"'), kInvalid, "", "$.layers[0].digest"},
        Row{"B08_upper_case_beside", ManifestText({}, ConfigDescriptor(), R"(,"Layers":[])"), kInvalid, "", "layers"},
        Row{"B08_upper_case_alone", With(ManifestText(), "layers", "LAYERS"), kInvalid},
        Row{"B08_media_type", ManifestText({}, ConfigDescriptor(), R"(,"MediaType":"a")"), kInvalid},
        Row{"B08_look_alike_of_go", ManifestText({}, ConfigDescriptor(), ",\"layer\xC5\xBF\":[]"), kInvalid},
        Row{"B08_cyrillic_is_a_stranger", ManifestText({}, ConfigDescriptor(), ",\"l\xD0\xB0yers\":[]"), {}},
        Row{"B08_in_a_descriptor", LayerWith(R"(,"Digest":"x")"), kInvalid},
        Row{"B08_in_a_platform", LayerWith(R"(,"platform":{"OS":"linux"})"), kInvalid},
        Row{"B08_escaped_is_the_same_key", ManifestText({}, ConfigDescriptor(), R"(,"\u006cayers":[])"), kInvalid, "", "twice"},
        Row{"B08_escaped_alone", With(ManifestText(), "layers", R"(\u006cayers)"), {}},
        Row{"B09_second_document", ManifestText() + ManifestText(), kInvalid}, Row{"B09_text", ManifestText() + "x", kInvalid},
        Row{"B09_nul", ManifestText() + std::string(1, '\0'), kInvalid}, Row{"B09_newline_is_space", ManifestText() + "\n", {}},
        Row{"B10_bom", "\xEF\xBB\xBF" + ManifestText(), kInvalid},
        Row{"B10_utf16", std::string("{\0\"\0", 4), kInvalid}, Row{"B10_bad_utf8", Annotated("a", "\xFF"), kInvalid},
        Row{"B10_lone_surrogate", Annotated("a", R"(\ud800)"), kInvalid}, Row{"B11_html", "<html></html>", kInvalid, "text/html"},
        Row{"B11_empty", "", kInvalid}, Row{"B11_null", "null", kInvalid}, Row{"B11_array", "[]", kInvalid},
        Row{"B11_number", "7", kInvalid}, Row{"B11_string", "\"a\"", kInvalid},
        Row{"B12_layers_null", With(ManifestText({}), R"("layers":[])", R"("layers":null)"), kInvalid},
        Row{"B12_layers_missing", With(ManifestText({}), R"(,"layers":[])", ""), kInvalid},
        Row{"B12_layers_object", With(ManifestText({}), R"("layers":[])", R"("layers":{})"), kInvalid},
        Row{"B12_config_null", ManifestText({}, "null"), kInvalid}, Row{"B12_config_array", ManifestText({}, "[]"), kInvalid},
        Row{"B12_config_missing", ManifestWithout(kTwoPart + ","), kInvalid},
        Row{"B12_manifests_null", With(IndexText({}), ":[]", ":null"), kInvalid},
        Row{"B12_manifests_object", With(IndexText({}), ":[]", ":{}"), kInvalid},
        Row{"B12_descriptor_string", ManifestText({"\"a\""}), kInvalid}, Row{"B12_descriptor_null", ManifestText({"null"}), kInvalid},
        Row{"B12_media_type_number", With(ManifestText(), "\"application/vnd.oci.image.manifest.v1+json\"", "7"), kInvalid},
        Row{"B12_layer_type_number", With(LayerWith(""), "\"" + std::string(kLayerGzip) + "\"", "7"), kInvalid},
        Row{"B12_layer_type_null", With(LayerWith(""), "\"" + std::string(kLayerGzip) + "\"", "null"), kInvalid},
        Row{"B12_layer_type_missing", With(LayerWith(""), R"("mediaType":")" + std::string(kLayerGzip) + "\",", ""), kInvalid},
        Row{"B12_layer_type_with_crlf", With(LayerWith(""), std::string(kLayerGzip), R"(a\r\nX: y)"), kInvalid},
        Row{"B12_annotation_number", LayerWith(R"(,"annotations":{"a":1})"), kInvalid},
        Row{"B12_annotations_array", LayerWith(R"(,"annotations":[])"), kInvalid},
        Row{"B12_platform_text", LayerWith(R"(,"platform":"linux")"), kInvalid},
        Row{"B12_urls_text", LayerWith(R"(,"urls":"http://x")"), kInvalid},
        Row{"optional_nulls_are_absent", LayerWith(R"(,"annotations":null,"urls":null,"platform":null,"data":null,"artifactType":null)"), {}},
        Row{"B13_arrays", Times(100'000, "["), kLimit}, Row{"B13_objects", Times(100'000, R"({"a":)"), kLimit},
        Row{"B13_inside", ManifestText({}, ConfigDescriptor(), R"(,"x":)" + Times(40, "[") + Times(40, "]")), kLimit},
        Row{"B14_of_4000000", Padded(4'000'000), {}}, Row{"at_the_limit", Padded(4u << 20), {}},
        Row{"B15_one_more", Padded((4u << 20) + 1), kLimit, "", "document_bytes"}, Row{"B15_of_5_MiB", Padded(5u << 20), kLimit},
        Row{"B16_big_value", Annotated("a", std::string(3u << 20, 'v')), {}},
        Row{"B16_big_key", Annotated(std::string(1u << 20, 'k'), "v"), {}},
        Row{"B40_unknown_fields", ManifestText({}, ConfigDescriptor(), R"(,"x":{"y":[1,null]})"), {}}),
    [](const auto& row) { return row.param.name; });

TEST(Documents, B15_Of64MiBIsRefusedUnread) {
  const auto got = ParseManifestOrIndex(std::string(64u << 20, '['), kOciManifest);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().reason(), kLimit);
  EXPECT_THAT(got.error().Text(), HasSubstr("document_bytes"));
}

TEST(Documents, B16_ManyAnnotationsAreKept) {
  std::string all;
  for (int i = 0; i < 100'000; ++i) all += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":\"\"";
  const Result<Manifest> got =
      Manifest::Parse(ManifestText({DescriptorText(kLayerGzip)}, ConfigDescriptor(), R"(,"annotations":{)" + all + "}"), "");
  ASSERT_TRUE(got) << got.error().Text();
  EXPECT_EQ(got->annotations().size(), 100'000u);
}

INSTANTIATE_TEST_SUITE_P(
    Descriptors, Documents,
    ::testing::Values(
        Row{"B17_overflow", LayerOf("1e400"), kInvalid}, Row{"B17_fraction", LayerOf("12.5"), kInvalid},
        Row{"B17_exponent", LayerOf("1e3"), kInvalid}, Row{"B17_text", LayerOf("\"12\""), kInvalid},
        Row{"B17_bool", LayerOf("true"), kInvalid}, Row{"B17_null", LayerOf("null"), kInvalid},
        Row{"B17_2_63", LayerOf("9223372036854775808"), kInvalid}, Row{"B17_2_64", LayerOf("18446744073709551616"), kInvalid},
        Row{"B17_minus_0", LayerOf("-0"), kInvalid}, Row{"B18_minus_1", LayerOf("-1"), kInvalid, "", "negative"},
        Row{"B18_0", LayerOf("0"), kInvalid, "", "$.layers[0].size"},
        Row{"B18_0_of_nothing", ManifestText({DescriptorText(kLayerGzip, digest::Digest::Of({}).ToString(), "0")}), {}},
        Row{"B18_missing", ManifestText({R"({"mediaType":"a/b","digest":")" + DigestOf('a') + "\"}"}), kInvalid},
        Row{"B20_1_EiB", LayerOf("1152921504606846976"), kLimit, "", "layer_bytes"},
        Row{"B20_20_TiB", LayerOf("21990232555520"), kLimit}, Row{"B20_64_GiB", LayerOf("68719476736"), {}},
        Row{"B20_config", ManifestText({}, DescriptorText(kOciConfig, DigestOf('a'), "21990232555520")), kLimit, "", "document_bytes"},
        Row{"B20_entry", IndexText({DescriptorText(kOciManifest, DigestOf('a'), "21990232555520")}), kLimit},
        Row{"B47_config_of_9_MiB", ManifestText({}, DescriptorText(kOciConfig, DigestOf('a'), "9437184")), kLimit},
        Row{"B21_layer", LayerDigest("sha256:../../../etc/victim"), kDigest, "", "$.layers[0].digest"},
        Row{"B21_config", ManifestText({}, DescriptorText(kOciConfig, "sha256:../../../etc/victim")), kDigest, "", "$.config.digest"},
        Row{"B21_entry", IndexText({DescriptorText(kOciManifest, "sha256:../../../etc/victim")}), kDigest, "", "$.manifests[0].digest"},
        Row{"B21_subject", ManifestText({}, ConfigDescriptor(), R"(,"subject":)" + DescriptorText(kOciManifest, "sha256:../../x")), kDigest,
            "", "$.subject.digest"},
        Row{"B21_subject_of_index", IndexText({}, R"(,"subject":)" + DescriptorText(kOciManifest, "sha256:../../x")), kDigest},
        Row{"B22_no_algorithm", LayerDigest(std::string(64, 'a')), kDigest}, Row{"B22_empty_hash", LayerDigest("sha256:"), kDigest},
        Row{"B22_empty", LayerDigest(""), kDigest}, Row{"B22_63", LayerDigest("sha256:" + std::string(63, 'a')), kDigest},
        Row{"B22_65", LayerDigest("sha256:" + std::string(65, 'a')), kDigest}, Row{"B22_upper", LayerDigest(DigestOf('A')), kDigest},
        Row{"B22_not_hex", LayerDigest(DigestOf('g')), kDigest}, Row{"B22_space", LayerDigest(" " + DigestOf('a')), kDigest},
        Row{"B22_number", With(LayerDigest("x"), "\"x\"", "7"), kInvalid}, Row{"B22_null", With(LayerDigest("x"), "\"x\"", "null"), kInvalid},
        Row{"B23_md5", LayerDigest("md5:" + std::string(32, 'a')), kDigest}, Row{"B23_sha1", LayerDigest("sha1:" + std::string(40, 'a')), kDigest},
        Row{"B23_crc32", LayerDigest("crc32:" + std::string(8, 'a')), kDigest},
        Row{"B23_b64", LayerDigest("sha256+b64:" + std::string(64, 'a')), kDigest},
        Row{"B23_blake3", LayerDigest("blake3:" + std::string(64, 'a')), kDigest},
        Row{"B24_sha512", LayerDigest("sha512:" + std::string(128, 'a')), {}},
        Row{"B25_query", LayerDigest(DigestOf('a') + "?x="), kDigest}, Row{"B25_fragment", LayerDigest(DigestOf('a') + "#"), kDigest},
        Row{"B25_escaped", LayerDigest("sha256:%2e%2e" + std::string(58, 'a')), kDigest},
        Row{"B25_slash", LayerDigest("sha256:/" + std::string(63, 'a')), kDigest},
        Row{"B25_crlf", LayerDigest(DigestOf('a') + R"(\r\nX: y)"), kDigest},
        Row{"B25_nul", LayerDigest(DigestOf('a') + R"(\u0000)"), kDigest},
        Row{"B29_data", InlineData("payload", bytes::ToBase64(bytes::AsView("payload"))), {}},
        Row{"B29_other_bytes", InlineData("payload", bytes::ToBase64(bytes::AsView("PAYLOAD"))), Reason::kDigestMismatch, "", "data"},
        Row{"B29_other_size", InlineData("payload", bytes::ToBase64(bytes::AsView("payload!"))), Reason::kDigestMismatch},
        Row{"B29_of_3_MiB", InlineData("payload", std::string(3u << 20, 'A')), Reason::kDigestMismatch},
        Row{"B29_bad_base64", InlineData("payload", "cGF5bG9hZA=*"), Reason::kDigestMismatch},
        Row{"B29_number", LayerWith(R"(,"data":7)"), kInvalid},
        Row{"B31_127_layers", Layers(127), {}}, Row{"B31_500_layers", Layers(500), {}},
        Row{"B31_501_layers", Layers(501), kLimit, "", "limit: layers"}, Row{"B31_600_layers", Layers(600), kLimit},
        Row{"B31_100000_layers", Layers(100'000), kLimit}, Row{"B32_same_layer_50_times", Layers(50), {}},
        Row{"B33_subject", ManifestText({}, ConfigDescriptor(), R"(,"subject":)" + DescriptorText(kOciManifest)), {}},
        Row{"B33_subject_is_an_index", IndexText({}, R"(,"subject":)" + DescriptorText(kOciIndex)), {}},
        Row{"B33_subject_null", IndexText({}, R"(,"subject":null)"), {}},
        Row{"B33_subject_text", IndexText({}, R"(,"subject":"x")"), kInvalid},
        Row{"B34_index_of_index", IndexText({Entry("", 'a', kOciIndex)}), {}},
        Row{"B38_20000_entries", IndexText(std::vector<std::string>(20'000, Entry("linux/amd64"))), {}}),
    [](const auto& row) { return row.param.name; });

TEST(Documents, EntriesOfAnIndexHaveTheirOwnLimit) {
  const std::string text = IndexText({Entry("linux/amd64", 'a'), Entry("linux/arm64", 'b')});
  EXPECT_TRUE(Index::Parse(text, "", {.index_entries = 2}));
  const Result<Index> got = Index::Parse(text, "", {.index_entries = 1});
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().reason(), kLimit);
  EXPECT_THAT(got.error().Text(), HasSubstr("limit: index_entries"));
}

TEST(Manifest, KeepsWhatItSays) {
  const std::string text =
      ManifestText({DescriptorText(kLayerGzip, DigestOf('1'), "10", R"(,"annotations":{"k":"v"},"artifactType":"a/b")"),
                    DescriptorText(kLayerGzip, DigestOf('2'), "20", R"(,"urls":["file:///x"])")},
                   ConfigDescriptor(), R"(,"annotations":{"a":"b"},"artifactType":"x/y")");
  const Result<Manifest> got = Manifest::Parse(text, kOciManifest);
  ASSERT_TRUE(got) << got.error().Text();
  EXPECT_EQ(got->media_type(), kOciManifest);
  EXPECT_EQ(got->artifact_type(), "x/y");
  EXPECT_EQ(got->config().media_type, kOciConfig);
  EXPECT_EQ(got->config().digest.ToString(), DigestOf('c'));
  ASSERT_EQ(got->layers().size(), 2u);
  EXPECT_EQ(got->layers()[0].annotations.at("k"), "v");
  EXPECT_EQ(got->layers()[0].artifact_type, "a/b");
  EXPECT_EQ(got->layers()[1].digest.ToString(), DigestOf('2'));
  EXPECT_EQ(got->layers()[1].urls, std::vector<std::string>{"file:///x"});
  EXPECT_FALSE(got->layers()[1].has_inline_data);
  EXPECT_EQ(got->annotations().at("a"), "b");
  EXPECT_EQ(got->TotalSize(), text.size() + 1470 + 30);
  EXPECT_TRUE(Manifest::Parse(InlineData("x", "eA=="), "")->layers()[0].has_inline_data);
}

TEST(Manifest, IsNotAnIndexAndTheReverse) {
  for (const auto& [error, words] : {std::pair{Manifest::Parse(kIndex, "").error(), "an index where"},
                                     std::pair{Index::Parse(ManifestText(), "").error(), "a manifest where"}}) {
    EXPECT_EQ(error.reason(), kInvalid);
    EXPECT_THAT(error.Text(), HasSubstr(words));
  }
}

TEST(Manifest, TypeIsItsOwnThenAsCalledThenGuessed) {
  const std::string untyped = ManifestWithout(R"("mediaType":"application/vnd.oci.image.manifest.v1+json",)");
  EXPECT_EQ(Manifest::Parse(ManifestText({}, ConfigDescriptor(), "", kDockerManifest), "application/json")->media_type(), kDockerManifest);
  EXPECT_EQ(Manifest::Parse(untyped, std::string(kDockerManifest) + ";a=b")->media_type(), kDockerManifest);
  EXPECT_EQ(Manifest::Parse(untyped, "")->media_type(), kOciManifest);
  EXPECT_EQ(Index::Parse(R"({"schemaVersion":2,"manifests":[]})", "")->media_type(), kOciIndex);
}

TEST(MediaTypes, AreComparedBare) {
  EXPECT_EQ(BareMediaType(" Application/JSON ; charset=utf-8"), "application/json");
  EXPECT_EQ(BareMediaType(""), "");
  EXPECT_EQ(BareMediaType(" ;x"), "");
  EXPECT_TRUE(IsIndexType(kDockerList) && IsIndexType(kOciIndex) && !IsIndexType(kOciManifest));
  EXPECT_TRUE(IsManifestType(kDockerManifest) && IsManifestType(kOciManifest) && !IsManifestType(kOciConfig));
}

TEST(MediaTypes, AcceptNamesThemBestFirstAndNoSchema1) {
  const std::string want = std::string(kOciIndex) + ", " + std::string(kDockerList) + ", " + std::string(kOciManifest) + ", " +
                           std::string(kDockerManifest) + ", */*";
  EXPECT_EQ(ManifestAccept(), want);
}

struct LayerRow {
  std::string name, type;
  std::optional<LayerKind> kind;  // nullopt: kUnsupported
  std::string words = {};
  std::vector<std::string> urls = {};
};
class LayerTypes : public ::testing::TestWithParam<LayerRow> {};

TEST_P(LayerTypes, AreKnownOrRefusedClearly) {
  Descriptor layer;
  layer.media_type = GetParam().type;
  layer.urls = GetParam().urls;
  const Result<LayerKind> got = LayerKindOf(layer);
  ASSERT_EQ(got.has_value(), GetParam().kind.has_value());
  if (got) {
    EXPECT_EQ(*got, *GetParam().kind);
  } else {
    EXPECT_EQ(got.error().reason(), kUnsupported);
    EXPECT_THAT(got.error().Text(), HasSubstr(GetParam().words));
  }
}

INSTANTIATE_TEST_SUITE_P(
    RuntimeRegistry0_4, LayerTypes,
    ::testing::Values(
        LayerRow{"oci", "application/vnd.oci.image.layer.v1.tar", LayerKind::kTar},
        LayerRow{"oci_gzip", "application/vnd.oci.image.layer.v1.tar+gzip", LayerKind::kTarGzip},
        LayerRow{"oci_zstd", "application/vnd.oci.image.layer.v1.tar+zstd", LayerKind::kTarZstd},
        LayerRow{"docker", "application/vnd.docker.image.rootfs.diff.tar", LayerKind::kTar},
        LayerRow{"docker_gzip", "application/vnd.docker.image.rootfs.diff.tar.gzip", LayerKind::kTarGzip},
        LayerRow{"docker_zstd", "application/vnd.docker.image.rootfs.diff.tar.zstd", LayerKind::kTarZstd},
        LayerRow{"nondistributable", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", {}, "foreign"},
        LayerRow{"foreign", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", {}, "foreign"},
        LayerRow{"encrypted", "application/vnd.oci.image.layer.v1.tar+encrypted", {}, "encrypted"},
        LayerRow{"encrypted_gzip", "application/vnd.oci.image.layer.v1.tar+gzip+encrypted", {}, "encrypted"},
        LayerRow{"erofs", "application/vnd.erofs.layer.v1", {}, "not an image layer"},
        LayerRow{"in_toto", "application/vnd.in-toto+json", {}, "not an image layer"}, LayerRow{"empty", "", {}, "not an image layer"},
        LayerRow{"B28_url", std::string(kLayerGzip), {}, "web address", {"https://elsewhere.example/blob"}},
        LayerRow{"B28_url_upper_case", std::string(kLayerGzip), {}, "web address", {"file:///x", "HTTP://elsewhere.example/blob"}},
        LayerRow{"url_of_a_file_is_ignored", std::string(kLayerGzip), LayerKind::kTarGzip, "", {"file:///etc/passwd"}}),
    [](const auto& row) { return row.param.name; });

struct ImageRow {
  std::string name, text;
  bool is_image;
  std::string words = {};
};
class Images : public ::testing::TestWithParam<ImageRow> {};

TEST_P(Images, AreToldFromArtifacts) {
  const Result<Manifest> manifest = Manifest::Parse(GetParam().text, "");
  ASSERT_TRUE(manifest) << manifest.error().Text();
  const Result<> got = CheckIsImage(*manifest);
  ASSERT_EQ(got.has_value(), GetParam().is_image);
  if (!got) {
    EXPECT_EQ(got.error().reason(), kUnsupported);
    EXPECT_THAT(got.error().Text(), HasSubstr(GetParam().words));
  }
}

INSTANTIATE_TEST_SUITE_P(
    B30, Images,
    ::testing::Values(
        ImageRow{"B58_image", ManifestText(), true}, ImageRow{"docker", ManifestText({}, DescriptorText(kDockerConfig)), true},
        ImageRow{"no_layers", ManifestText({}), true},
        ImageRow{"empty_config_type", ManifestText({}, DescriptorText("")), false, "not an image"},
        ImageRow{"artifact", ManifestText({}, DescriptorText("application/vnd.oci.empty.v1+json", DigestOf('a'), "2")), false, "not an image"},
        ImageRow{"helm", ManifestText({}, DescriptorText("application/vnd.cncf.helm.config.v1+json")), false, "helm"},
        ImageRow{"schema1_era", ManifestText({}, DescriptorText("application/octet-stream")), false, "schema 1"},
        ImageRow{"strange_layer", ManifestText({DescriptorText(kLayerGzip), DescriptorText("application/vnd.x")}), false, "layer 2 of 2"}),
    [](const auto& row) { return row.param.name; });

struct Choice {
  std::string name;
  std::vector<std::string> entries;  // Entry texts, digests '0', '1', … in the order of the index
  std::string host, want;            // digits of the entries, best first
};
class Selects : public ::testing::TestWithParam<Choice> {};

TEST_P(Selects, InThatOrder) {
  const Result<Index> index = Index::Parse(IndexText(GetParam().entries), "");
  ASSERT_TRUE(index) << index.error().Text();
  const PlatformMatcher host(*Platform::Parse(GetParam().host));
  std::string got;
  for (const Descriptor* entry : index->Select(host)) got += entry->digest.ToString()[7];
  EXPECT_EQ(got, GetParam().want);
}

constexpr std::string_view kAttests = R"(,"annotations":{"vnd.docker.reference.type":"attestation-manifest"})";

INSTANTIATE_TEST_SUITE_P(
    KubeletImages11_3, Selects,
    ::testing::Values(
        Choice{"plain_amd64", {Entry("linux/amd64", '0'), Entry("linux/amd64/v3", '1')}, "linux/amd64", "0"},
        Choice{"amd64_v3", {Entry("linux/amd64", '0'), Entry("linux/amd64/v3", '1')}, "linux/amd64/v3", "10"},
        Choice{"amd64_v2_only", {Entry("linux/amd64/v2", '0')}, "linux/amd64", ""},
        Choice{"arm_v7", {Entry("linux/arm/v6", '0'), Entry("linux/arm/v7", '1')}, "linux/arm/v7", "10"},
        Choice{"arm_on_arm64", {Entry("linux/arm/v7", '0'), Entry("linux/arm/v6", '1')}, "linux/arm64", "01"},
        Choice{"i386_on_amd64", {Entry("linux/386", '0')}, "linux/amd64", "0"},
        Choice{"equal_ranks_keep_order", {Entry("linux/arm64/v8", '0'), Entry("linux/arm64", '1')}, "linux/arm64", "01"},
        Choice{"equal_ranks_reversed", {Entry("linux/arm64", '0'), Entry("linux/arm64/v8", '1')}, "linux/arm64/v8", "01"},
        Choice{"no_platform_last", {Entry("", '0'), Entry("linux/386", '1'), Entry("linux/amd64", '2')}, "linux/amd64", "210"},
        Choice{"other_os", {Entry("windows/amd64", '0'), Entry("linux/amd64", '1')}, "linux/amd64", "1"},
        Choice{"B34_nested", {Entry("", '0', kOciIndex), Entry("linux/amd64", '1', kDockerList), Entry("linux/arm64", '2', kOciIndex)},
               "linux/amd64", "10"},
        Choice{"B39_none", {Entry("linux/s390x", '0')}, "linux/amd64", ""},
        Choice{"B40_two_of_one_platform", {Entry("linux/amd64", '0'), Entry("linux/amd64", '1')}, "linux/amd64", "01"},
        Choice{"B40_variant_order", {Entry("linux/arm/v7", '0'), Entry("linux/arm/v6", '1')}, "linux/arm/v7", "01"},
        Choice{"B41_attestation_first", {Entry("unknown/unknown", '0', kOciManifest, kAttests), Entry("linux/amd64", '1')}, "linux/amd64", "1"},
        Choice{"attestation_without_platform", {Entry("", '0', kOciManifest, kAttests), Entry("linux/amd64", '1')}, "linux/amd64", "1"},
        Choice{"unknown_without_annotation", {Entry("unknown/unknown", '0'), Entry("linux/amd64", '1')}, "linux/amd64", "1"},
        Choice{"no_manifest", {Entry("linux/amd64", '0', "application/vnd.x+json"), Entry("linux/amd64", '1')}, "linux/amd64", "1"},
        Choice{"empty_platform_is_none", {DescriptorText(kOciManifest, DigestOf('0'), "1", R"(,"platform":{})"), Entry("linux/amd64", '1')},
               "linux/amd64", "10"}),
    [](const auto& row) { return row.param.name; });

TEST(Index, TellsAttestationsFromImages) {
  const Result<Index> index = Index::Parse(IndexText({Entry("unknown/unknown", '0', kOciManifest, kAttests), Entry("linux/amd64", '1')}), "");
  ASSERT_TRUE(index);
  EXPECT_TRUE(IsAttestation(index->manifests()[0]));
  EXPECT_FALSE(IsAttestation(index->manifests()[1]));
}

TEST(Index, OffersEachPlatformOnceAndAtMostTen) {
  const auto offered = [](const std::vector<std::string>& entries) { return Index::Parse(IndexText(entries), "")->OfferedPlatforms(); };
  EXPECT_EQ(offered({}), "none");
  EXPECT_EQ(offered({Entry("", 'a')}), "none");
  EXPECT_EQ(offered({Entry("linux/arm64/v8", 'a'), Entry("linux/s390x", 'b'), Entry("linux/arm64", 'c'),
                     Entry("unknown/unknown", 'd', kOciManifest, kAttests)}),
            "linux/arm64, linux/s390x");
  std::vector<std::string> many;
  for (int i = 0; i < 13; ++i) many.push_back(Entry("linux/a" + std::to_string(i)));
  EXPECT_THAT(offered(many), ::testing::EndsWith("linux/a9 and 3 more"));
  EXPECT_EQ(offered({Entry(R"(li\u001bnux/amd64)")}), R"(li\x1bnux/amd64)");
}

}  // namespace
}  // namespace berth::oci
