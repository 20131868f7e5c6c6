#!/bin/sh
# Makes tls/ (authority and certificate) and ca-bundle.yaml beside this file. Again: a new certificate by the same authority.
# A new authority: move tls/ca.crt to tls/old-ca.crt, remove tls/ca.key; both are then trusted until tls/old-ca.crt is removed.
set -eu
cd "$(dirname "$0")"
"${BERTH_WEBHOOK:-berth-webhook}" --make-certificates tls "$@"
bundle=$(for file in tls/old-ca.crt tls/ca.crt; do if [ -f "$file" ]; then cat "$file"; fi; done | base64 | tr -d '\n')
cat > ca-bundle.yaml <<END
- op: add
  path: /webhooks/0/clientConfig/caBundle
  value: $bundle
END
