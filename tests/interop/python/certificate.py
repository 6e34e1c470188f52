"""Makes a certificate that vouches for itself and for one name, and prints it with its key."""

import datetime
import json
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NAME = json.loads(sys.argv[1])["name"]

key = ec.generate_private_key(ec.SECP256R1())
subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
now = datetime.datetime.now(datetime.timezone.utc)
certificate = (
    x509.CertificateBuilder()
    .subject_name(subject)
    .issuer_name(subject)
    .public_key(key.public_key())
    .serial_number(x509.random_serial_number())
    .not_valid_before(now - datetime.timedelta(hours=1))
    .not_valid_after(now + datetime.timedelta(days=1))
    .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
    .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    .sign(key, hashes.SHA256())
)
PEM = serialization.Encoding.PEM
private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
print(
    json.dumps(
        {
            "cert": certificate.public_bytes(PEM).decode(),
            "key": key.private_bytes(PEM, *private).decode(),
        }
    )
)
