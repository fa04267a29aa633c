//! Vectors of Twilio's own validators (Python, Node and Go SDKs) and of its documentation, token `12345`.

use super::*;

const TOKEN: &[u8] = b"12345";
const FORM: &str =
    "CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212";
const WITH_REASON: &str = "CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212&ReasonConferenceEnded=test&Reason=Participant";

fn check(public_url: &str, path: &str, body: &str, signature: &str, keys: &[&[u8]]) -> bool {
    let mut headers = http::HeaderMap::new();
    headers.insert(HEADER, signature.parse().unwrap());
    holds(keys, &SignedRequest { public_url, path_and_query: path, headers: &headers, body: body.as_bytes() })
}

const PATH: &str = "/myapp.php?foo=1&bar=2";
const JSON: &str = r#"{"property": "value", "boolean": true}"#;
const JSON_PATH: &str =
    "/myapp.php?foo=1&bar=2&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620";
const ONLY_HASH: &str =
    "/myapp.php?bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620";
const EMPTY_JSON: &str =
    "/myapp.php?foo=1&bar=2&bodySHA256=44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
const REPEATED: &str = "Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=1234";
const DOCUMENTED: &str =
    "CallSid=CA1234567890ABCDE&Caller=%2B14158675310&Digits=1234&From=%2B14158675310&To=%2B18005551212";

/// URL, path, body, signature.
const VECTORS: [(&str, &str, &str, &str); 14] = [
    ("https://mycompany.com", PATH, FORM, "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
    ("https://mycompany.com:443", PATH, FORM, "kvajT1Ptam85bY51eRf/AJRuM3w="),
    ("http://mycompany.com:80", PATH, FORM, "0ZXoZLH/DfblKGATFgpif+LLRf4="),
    ("http://mycompany.com:1234", PATH, FORM, "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="),
    ("https://mycompany.com", PATH, REPEATED, "IK+Dwps556ElfBT0I3Rgjkr1wJU="),
    ("https://mycompany.com", JSON_PATH, JSON, "a9nBmqA0ju/hNViExpshrM61xv4="),
    ("https://mycompany.com", ONLY_HASH, JSON, "y77kIzt2vzLz71DgmJGsen2scGs="),
    ("https://mycompany.com", EMPTY_JSON, "{}", "Ldidvp12m26NI7eqEvxnEpkd9Hc="),
    ("https://mycompany.com", PATH, WITH_REASON, "vOEb5UThFn24KEfnOFLQY2AE5FY="),
    ("http://mycompany.com", PATH, WITH_REASON, "n2xBNyzSW7rfYStDtOFiFMv7qNo="),
    ("https://mycompany.com", PATH, "property=value&boolean=true", "NBdBDr/T/lgjI+tlgpXjKZQZs/k="),
    ("https://example.com", PATH, DOCUMENTED, "L/OH5YylLD5NRKLltdqwSvS0BnU="),
    // Signed with the default port and presented without it, and the reverse.
    ("https://mycompany.com", PATH, FORM, "kvajT1Ptam85bY51eRf/AJRuM3w="),
    ("https://mycompany.com:443", PATH, FORM, "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
];

#[test]
fn the_vendors_test_vectors_are_valid() {
    for (url, path, body, signature) in VECTORS {
        assert!(check(url, path, body, signature, &[TOKEN]), "{url}{path} {signature}");
        assert!(check(url, path, body, signature, &[b"previous", TOKEN]), "a second token: {signature}");
        assert!(!check(url, path, body, signature, &[b"123456"]), "another token: {signature}");
    }
}

#[test]
fn any_other_request_is_invalid() {
    let (url, path) = ("https://mycompany.com", "/myapp.php?foo=1&bar=2");
    let good = "RSOYDt4T1cUTdK1PDd93/VVr8B8=";
    assert!(!check(url, path, WITH_REASON, "95+Bu0JVPi0r/SsESZCVf0dWAjw=", &[TOKEN]), "sorted after joining");
    assert!(!check(url, path, &FORM.replace("1234", "1235"), good, &[TOKEN]), "a changed value");
    assert!(!check(url, "/myapp.php?foo=1&bar=3", FORM, good, &[TOKEN]), "a changed query");
    assert!(!check("https://mycompany.com:8443", path, FORM, good, &[TOKEN]), "another port");
    assert!(!check(url, path, FORM, good, &[]), "no token");
    for broken in ["", "!!", "AAAA"] {
        assert!(!check(url, path, FORM, broken, &[TOKEN]), "{broken}");
    }
}

#[test]
fn a_json_body_must_have_the_hash_of_the_query() {
    let path =
        "/myapp.php?foo=1&bar=2&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620";
    let signature = "a9nBmqA0ju/hNViExpshrM61xv4=";
    assert!(!check(
        "https://mycompany.com",
        path,
        r#"{"property": "other", "boolean": true}"#,
        signature,
        &[TOKEN]
    ));
}

/// The signed data is bytes of any charset, without a byte order mark.
#[test]
fn a_form_that_is_not_utf8_is_signed_byte_for_byte() {
    let url = "https://mycompany.com/a";
    let signature = STANDARD.encode(sign(TOKEN, url, b"Bodycaf\xe9MessageSidSM1"));
    for body in ["MessageSid=SM1&Body=caf%E9", "\u{feff}MessageSid=SM1&Body=caf%E9"] {
        assert!(check("https://mycompany.com", "/a", body, &signature, &[TOKEN]), "{body}");
    }
    assert!(!check("https://mycompany.com", "/a", "MessageSid=SM1&Body=caf%E8", &signature, &[TOKEN]));
}
