#include "http/failure.h"

#include <cerrno>

namespace berth::http {
namespace {

// X509_V_ERR_* of OpenSSL 3, whose headers belong to another library.
constexpr long kUnspecified = 1, kSignature = 7, kNotYetValid = 9, kHasExpired = 10, kSelfSigned = 18, kSelfSignedInChain = 19,
               kNoIssuerHere = 20, kCannotVerifyLeaf = 21, kRevoked = 23, kHostMismatch = 62, kAddressMismatch = 64,
               kLeafKeyTooSmall = 66, kCaKeyTooSmall = 67, kCaDigestTooWeak = 68;

std::string Seconds(time::Duration d) {
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(d).count();
  return ms % 1000 == 0 ? std::to_string(ms / 1000) + " s" : std::to_string(ms) + " ms";
}

Error Certificate(long verdict, const std::string& peer) {
  switch (verdict) {
    case 0: case kUnspecified:  // curl compares the names itself and leaves no verdict
    case kHostMismatch: case kAddressMismatch:
      return Error(Reason::kTlsName, "the certificate of " + peer + " is for other names")
          .Next("use a name that the certificate holds, or give the server a certificate for this one");
    case kHasExpired:
      return Error(Reason::kTlsExpired, "the certificate of " + peer + " or of its issuer has expired")
          .Next("renew it; if it is valid, check the clock of this node");
    case kNotYetValid:
      return Error(Reason::kTlsExpired, "the certificate of " + peer + " is not valid yet").Next("check the clock of this node");
    case kSelfSigned: case kSelfSignedInChain: case kNoIssuerHere: case kCannotVerifyLeaf:
    case kSignature:  // a known name with another key
      return Error(Reason::kTlsCa, "the certificate of " + peer + " is signed by an unknown authority")
          .Next("put the certificate of its CA into the system's store");
    case kRevoked:
      return Error(Reason::kTls, "the certificate of " + peer + " is revoked");
    case kLeafKeyTooSmall: case kCaKeyTooSmall: case kCaDigestTooWeak:
      return Error(Reason::kTls, "the certificate of " + peer + " uses a key or digest that is too weak");
    default:
      return Error(Reason::kTls, "the certificate of " + peer + " cannot be verified (OpenSSL verdict " + std::to_string(verdict) + ")");
  }
}

constexpr const char* kProxySetting = "check that the proxy runs, and HTTPS_PROXY, HTTP_PROXY and NO_PROXY in the environment of berthd";

Error ProxyAnswered(int status, const std::string& proxy) {
  if (status == 407)
    return Error(Reason::kUnavailable, "the proxy " + proxy + " wants other credentials (407)")
        .Next("put user and password into HTTPS_PROXY or HTTP_PROXY in the environment of berthd").Retryable(false);
  return Error(Reason::kUnavailable, "the proxy " + proxy + " did not open the way (status " + std::to_string(status) + ")")
      .Next(kProxySetting);
}

}  // namespace

Error TooLate(const Failure& f, const Limits& limits) {
  const std::string& server = f.server;
  switch (f.phase) {
    case Phase::kConnect:
      return Error(Reason::kTimeout, "no connection to " + f.Peer() + " within " + Seconds(limits.connect) + " (connect)");
    case Phase::kTls:
      if (f.AtProxy())  // in its handshake or behind it, which curl does not tell
        return Error(f.proxy.starts_with("https:") ? Reason::kTls : Reason::kTimeout, f.Peer() + " did not open the way within " + Seconds(limits.tls) + " (tls)")
            .Next(kProxySetting).Retryable(true);
      return Error(Reason::kTls, "the TLS handshake with " + server + " did not end within " + Seconds(limits.tls) + " (tls)")
          .Retryable(true);
    case Phase::kHeaders:
      return Error(Reason::kTimeout, server + " did not answer within " + Seconds(limits.headers) + " (headers)");
    case Phase::kBody: break;
  }
  return Error(Reason::kStalled, "the body from " + server + " came slower than " + std::to_string(limits.min_rate) +
                                     " bytes/s over " + Seconds(limits.stall_window) + " (min_rate)");
}

Error Explain(const Failure& f, const Limits& limits) {
  const auto says = [&](std::string_view word) { return f.text.find(word) != std::string::npos; };
  const bool to_proxy = f.AtProxy();
  const std::string peer = f.Peer();
  if (!f.proxy.empty() && f.connect_status != 0 && f.connect_status / 100 != 2) return ProxyAnswered(f.connect_status, f.proxy);
  switch (f.code) {
    case CURLE_COULDNT_RESOLVE_HOST:
      return Error(Reason::kDns, "the name of " + f.server + " does not resolve").Next("check the name and the node's DNS");
    case CURLE_COULDNT_RESOLVE_PROXY:
      return Error(Reason::kDns, "the name of the proxy " + f.proxy + " does not resolve").Next(kProxySetting);
    case CURLE_COULDNT_CONNECT:
      switch (f.os_error) {
        case ECONNREFUSED: return Error(Reason::kRefused, peer + " refuses connections")
                               .Next(to_proxy ? kProxySetting : "check that it runs and the port");
        case ETIMEDOUT: return TooLate({.server = f.server, .proxy = f.proxy, .text = {}}, limits);
        case ENETUNREACH: case EHOSTUNREACH: return Error(Reason::kUnavailable, "there is no route to " + peer);
        case ECONNRESET: return Error(Reason::kConnectionReset, peer + " reset the connection at once");
        default: return Error(Reason::kUnavailable, "no connection to " + peer);
      }
    case CURLE_OPERATION_TIMEDOUT: return TooLate(f, limits);
    case CURLE_PROXY: return Error(Reason::kUnavailable, "the proxy " + f.proxy + " did not open the way").Next(kProxySetting);

    case CURLE_PEER_FAILED_VERIFICATION: return Certificate(f.verify, peer);
    case CURLE_SSL_CERTPROBLEM:
      return Error(Reason::kConfig, "the client certificate for " + f.server + " or its key cannot be used")
          .Next("check that certificate and key are PEM, belong together and the key has no pass phrase");
    case CURLE_SSL_CACERT_BADFILE:
      return Error(Reason::kConfig, "the CA certificates for " + f.server + " cannot be read");
    case CURLE_SSL_CONNECT_ERROR:
      if (says("wrong version number") || says("packet length too long") || says("http request")) {
        if (to_proxy)  // not kHttpOnHttps: that would have the registry tried without TLS
          return Error(Reason::kTls, peer + " does not speak TLS on this port")
              .Next("if it is a plain HTTP proxy, write it as http:// in HTTPS_PROXY or HTTP_PROXY in the environment of berthd");
        return Error(Reason::kHttpOnHttps, peer + " does not speak TLS on this port")
            .Next("if it is a plain HTTP registry, configure this host as http://");
      }
      // A signature that the issuer of that name did not make: OpenSSL's first complaint is about the arithmetic.
      if (says("asn1 encoding routines::EVP lib") || says("rsa routines") || says("elliptic curve routines"))
        return Certificate(kSignature, peer);
      if (says("unsupported protocol") || says("protocol version") || says("version too low"))
        return Error(Reason::kTls, peer + " offers no TLS version from 1.2 on");
      if (says("certificate required") || says("bad certificate") || says("unknown ca") || says("handshake failure"))
        return Error(Reason::kTls, peer + " refused the TLS handshake; it may want a client certificate")
            .Next(to_proxy ? kProxySetting : "configure client cert and key for this registry");
      if (says("key too small") || says("ca md too weak") || says("ee key too small") || says("dh key too small"))
        return Error(Reason::kTls, peer + " uses a key or digest that is too weak");
      return Error(Reason::kTls, "the TLS handshake with " + peer + " broke").Retryable(true);
    case CURLE_SSL_CIPHER: case CURLE_SSL_ENGINE_INITFAILED: case CURLE_SSL_INVALIDCERTSTATUS:
      return Error(Reason::kTls, "the TLS handshake with " + peer + " failed");

    case CURLE_SEND_ERROR: case CURLE_RECV_ERROR:
      if (says("chunked-encoding")) return Error(Reason::kProtocolError, f.server + " sent a malformed chunked body");
      if (says("certificate required") || says("alert"))
        return Error(Reason::kTls, peer + " ended the TLS session with an alert; it may want a client certificate")
            .Next(to_proxy ? kProxySetting : "configure client cert and key for this registry");
      if (says("unexpected eof")) return Error(Reason::kUnexpectedEof, peer + " closed the connection in the middle");
      return Error(Reason::kConnectionReset, "the connection to " + peer + " was reset");
    case CURLE_GOT_NOTHING: return Error(Reason::kUnexpectedEof, f.server + " closed the connection without an answer");
    case CURLE_PARTIAL_FILE:
      if (f.chunked) return Error(Reason::kProtocolError, f.server + " ended a chunked body without its last chunk");
      return Error(Reason::kUnexpectedEof, f.server + " closed the connection before the end of the body");
    case CURLE_HTTP2_STREAM:
      if (says("PROTOCOL_ERROR") || says("FLOW_CONTROL") || says("FRAME_SIZE") || says("COMPRESSION"))
        return Error(Reason::kProtocolError, f.server + " broke the rules of HTTP/2");
      return Error(Reason::kConnectionReset, f.server + " reset the HTTP/2 stream");
    case CURLE_HTTP2: return Error(Reason::kProtocolError, f.server + " broke the rules of HTTP/2");
    case CURLE_OUT_OF_MEMORY:  // what curl 7.88 says of a header line above 100 kB
      if (f.phase == Phase::kHeaders)
        return Error(Reason::kProtocolError, f.server + " sent a header block of more than " + std::to_string(limits.header_bytes) +
                                                 " bytes (header_bytes)");
      return Error(Reason::kInternal, "libcurl ran out of memory");
    case CURLE_WEIRD_SERVER_REPLY: case CURLE_UNSUPPORTED_PROTOCOL: case CURLE_BAD_CONTENT_ENCODING:
      return Error(Reason::kProtocolError, "the answer of " + f.server + " is not HTTP");
    default:
      if (f.phase == Phase::kConnect)
        return Error(Reason::kInternal, "the exchange could not be set up (libcurl code " + std::to_string(f.code) + ")");
      return Error(Reason::kProtocolError, "the exchange with " + f.server + " failed (libcurl code " + std::to_string(f.code) + ")");
  }
}

}  // namespace berth::http
