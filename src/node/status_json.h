// node/status_json.h: a Pod's status as the JSON that the API shows. What is empty is left out, as Go does it.
#pragma once

#include "json/tree.h"
#include "kube/objects.h"

namespace berth::node {

json::Tree StatusJson(const kube::PodStatus& status);

}  // namespace berth::node
