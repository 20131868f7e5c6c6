// credentials/go_text.h: text forms of Go that kubectl's and the kubelet's files, hashes and messages depend on. Internal.
//
// Pure functions. Go's durations: time/go_duration.h.
#pragma once

#include <string>
#include <string_view>

namespace berth::credentials {

// Appends `text` as encoding/json writes a string: < > & and U+2028/2029 escaped, each bad byte of UTF-8 as \ufffd.
void AppendGoJson(std::string& out, std::string_view text);
std::string GoJson(std::string_view text);

// Why net/url does not parse `url` ("invalid URL escape \"%in\""), "" when it does. For https://HOST[/PATH] only.
std::string GoUrlProblem(std::string_view url);

// Why `key` is no qualified name of Kubernetes ([prefix/]name), "" when it is one: the texts of apimachinery.
std::string QualifiedNameProblem(std::string_view key);

}  // namespace berth::credentials
