#!/bin/sh
# Makes tls/ (authority and certificate) and ca-bundle.yaml beside this file. Again: a new certificate by the same authority.
# A new authority: move tls/ca.crt to tls/old-ca.crt, remove tls/ca.key; both are then trusted until tls/old-ca.crt is removed.
set -eu
cd "$(dirname "$0")"
"${BERTH_WEBHOOK:-berth-webhook}" --make-certificates tls "$@"
bundle=$(for file in tls/old-ca.crt tls/ca.crt; do if [ -f "$file" ]; then cat "$file"; fi; done | base64 | tr -d '\n')
# No hash in the name: a new certificate is read by the Pods that run, without a roll-out.
(umask 077; cat > tls/secret.yaml) <<END
apiVersion: v1
kind: Secret
metadata: {name: berth-webhook-tls, namespace: berth-system}
type: kubernetes.io/tls
data:
  tls.crt: $(base64 < tls/tls.crt | tr -d '\n')
  tls.key: $(base64 < tls/tls.key | tr -d '\n')
END
cat > ca-bundle.yaml <<END
- op: add
  path: /webhooks/0/clientConfig/caBundle
  value: $bundle
END
