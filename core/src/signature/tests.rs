use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

// RFC 7515, appendix A.2: an RS256 key, what it signed, and the signature.
const N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const SIGNED: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";

fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

#[test]
fn the_signature_of_rfc_7515_is_valid_for_its_algorithm_alone() {
    let key = PublicKey::rsa(&decode(N), &[1, 0, 1]).unwrap();
    for (name, algorithm) in Algorithm::ALL {
        let valid = Sandbox.verify(algorithm, &key, SIGNED.as_bytes(), &decode(SIGNATURE));
        assert_eq!(valid, name == "RS256", "{name}");
    }
}

#[test]
fn a_changed_message_or_signature_is_not_valid() {
    let key = PublicKey::rsa(&decode(N), &[1, 0, 1]).unwrap();
    let verify = |message: &[u8], signature: &[u8]| {
        Sandbox.verify(Algorithm::Rs256, &key, message, signature)
    };
    let signature = decode(SIGNATURE);
    assert!(!verify(b"", &signature));
    assert!(!verify(SIGNED.as_bytes(), b""));
    assert!(!verify(SIGNED.as_bytes(), &signature[1..]));
    assert!(!verify(SIGNED.as_bytes(), &[&[0], signature.as_slice()].concat()));
    for at in [0, 100, 255] {
        let mut changed = signature.clone();
        changed[at] ^= 1;
        assert!(!verify(SIGNED.as_bytes(), &changed));
    }
}

#[test]
fn weak_keys_cannot_be_made() {
    let modulus = decode(N);
    assert!(PublicKey::rsa(&modulus, &[3]).is_some());
    for exponent in [&[][..], &[0], &[1], &[2], &[1, 0, 0], &[0xff; 9]] {
        assert!(PublicKey::rsa(&modulus, exponent).is_none(), "exponent {exponent:?}");
    }
    assert!(PublicKey::rsa(&[], &[1, 0, 1]).is_none());
    assert!(PublicKey::rsa(&modulus[1..], &[1, 0, 1]).is_none(), "2040 bits");
    assert!(PublicKey::rsa(&[0xff; 1024], &[1, 0, 1]).is_some(), "8192 bits");
    assert!(PublicKey::rsa(&[0xff; 1025], &[1, 0, 1]).is_none(), "8200 bits");
}

#[test]
fn a_modulus_that_can_be_factored_is_no_key() {
    // Made for this test: a power of 65537 modulo the first 126 primes, as the library made primes.
    let modulus = decode(
        "77qR_IA0aLa2EKn3-ScPTrizM6jlRG3UVSuC9r4-3Aoe8qTwS-A9sNwldL25QGft_hdTMKEdRZovl42HGZmeP6RtZ1PsFIy0jnPKR-qQqPDWa4KeaorEugWAWXXtL4nZSi8gqvPGSvd1qJKUws14mjgCCKmtRfI9OxoR31h_0oA7q2w5jYgydK_OIxL5t3aO67WD95c_K-TNjQIVXU0JRQPKSo_EdBjcuAJtQhReoBD_XeW901NdgmgMSDjBePLR9CdpzZ5JSq7Gx4JCyK5N_snTzsMei7Q93S50SsXpAuCSW37YbC3hxnBFCIcoPdM32u5TR6UgitoYzzkg5jPQMQ",
    );
    assert!(PublicKey::rsa(&modulus, &[1, 0, 1]).is_none());
    assert!(PublicKey::rsa(&[&[0], &modulus[..]].concat(), &[1, 0, 1]).is_none());
    let mut other = modulus;
    other[255] ^= 2;
    assert!(PublicKey::rsa(&other, &[1, 0, 1]).is_some());
}

#[test]
fn names_of_algorithms_are_exact() {
    assert_eq!(Algorithm::named("RS256"), Some(Algorithm::Rs256));
    assert_eq!(Algorithm::named("Ed25519"), Algorithm::named("EdDSA"), "RFC 9864");
    for name in ["none", "None", "rs256", "HS256", "RS1", "ES256K", "ed25519", "Ed448", ""] {
        assert_eq!(Algorithm::named(name), None, "{name}");
    }
}

/// RFC 7515, appendix A.3: an ES256 key, what it signed, and the signature.
mod p256 {
    pub(super) const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    pub(super) const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
    pub(super) const SIGNED: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    pub(super) const SIGNATURE: &str =
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
}

/// RFC 8037, appendix A.4: an Ed25519 key, what it signed, and the signature.
mod ed25519 {
    pub(super) const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    pub(super) const SIGNED: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    pub(super) const SIGNATURE: &str =
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
}

#[test]
fn an_elliptic_curve_signature_is_valid_for_its_algorithm_alone() {
    let p256 = PublicKey::p256(&decode(p256::X), &decode(p256::Y)).unwrap();
    let ed25519 = PublicKey::ed25519(&decode(ed25519::X)).unwrap();
    for (name, algorithm) in Algorithm::ALL {
        let verify = |key, signed: &str, signature| {
            Sandbox.verify(algorithm, key, signed.as_bytes(), &decode(signature))
        };
        assert_eq!(verify(&p256, p256::SIGNED, p256::SIGNATURE), name == "ES256", "{name}");
        assert_eq!(
            verify(&ed25519, ed25519::SIGNED, ed25519::SIGNATURE),
            algorithm == Algorithm::EdDsa,
            "{name}"
        );
    }
}

#[test]
fn a_changed_elliptic_curve_signature_is_not_valid() {
    let key = PublicKey::p256(&decode(p256::X), &decode(p256::Y)).unwrap();
    let verify = |signature: &[u8]| {
        Sandbox.verify(Algorithm::Es256, &key, p256::SIGNED.as_bytes(), signature)
    };
    let signature = decode(p256::SIGNATURE);
    assert!(verify(&signature));
    let der = key.asn1_signature(&signature).unwrap();
    assert!(!verify(&der), "JWS knows r‖s only");
    assert!(!verify(&[0; 64]), "r and s must not be zero");
    assert!(!verify(&[&signature[..32], &[0; 32]].concat()));
    assert!(!verify(&signature[..63]) && !verify(&[]) && !verify(&[&signature[..], &[0]].concat()));
    for at in [0, 31, 32, 63] {
        let mut changed = signature.clone();
        changed[at] ^= 1;
        assert!(!verify(&changed));
    }
}

#[test]
fn an_edwards_curve_signature_of_another_length_is_not_valid() {
    let key = PublicKey::ed25519(&decode(ed25519::X)).unwrap();
    let signature = [decode(ed25519::SIGNATURE), vec![0; 64]].concat();
    for length in 0..signature.len() {
        let valid = Sandbox.verify(
            Algorithm::EdDsa,
            &key,
            ed25519::SIGNED.as_bytes(),
            &signature[..length],
        );
        assert_eq!(valid, length == 64, "{length} bytes");
    }
}

#[test]
fn what_is_no_point_on_the_curve_is_no_key() {
    let (x, y) = (decode(p256::X), decode(p256::Y));
    assert!(PublicKey::p256(&y, &x).is_none());
    assert!(PublicKey::p256(&[0; 32], &[0; 32]).is_none());
    assert!(PublicKey::p256(&x[1..], &y).is_none(), "coordinates have a fixed length");
    assert!(PublicKey::p256(&[&[0], &x[..]].concat(), &y).is_none());
    assert!(PublicKey::p384(&x, &y).is_none());
    assert!(PublicKey::p384(&[1; 48], &[1; 48]).is_none());
    assert!(PublicKey::ed25519(&x[1..]).is_none());
    assert!(PublicKey::ed25519(&[]).is_none());
    assert!(PublicKey::ed25519(&[2; 32]).is_none());
}

#[test]
fn a_point_for_which_anybody_can_sign_is_no_key() {
    let low = |y: u8| [&[y][..], &[0; 31]].concat();
    assert!(PublicKey::ed25519(&low(0)).is_none(), "of order 4");
    assert!(PublicKey::ed25519(&low(1)).is_none(), "the neutral element");
    assert!(PublicKey::ed25519(&low(3)).is_some(), "a point like any other");
}

#[test]
fn zeros_before_a_modulus_make_no_longer_number_of_it() {
    let zeros = [vec![0; 100_000], decode(N)].concat();
    let key = PublicKey::rsa(&zeros, &[1, 0, 1]).unwrap();
    let Numbers::Rsa(number) = &key.numbers else { panic!("{key:?}") };
    assert_eq!(number.n_bits_precision(), 2048);
    assert_eq!(key, PublicKey::rsa(&decode(N), &[1, 0, 1]).unwrap());
}

#[test]
fn keys_are_equal_if_their_numbers_are() {
    let rsa = |exponent| PublicKey::rsa(&decode(N), exponent).unwrap();
    assert_eq!(rsa(&[1, 0, 1]), rsa(&[0, 1, 0, 1]));
    assert_ne!(rsa(&[1, 0, 1]), rsa(&[3]));
    let ed25519 = PublicKey::ed25519(&decode(ed25519::X)).unwrap();
    assert_eq!(ed25519, ed25519.clone());
    assert_ne!(ed25519, rsa(&[3]));
}
