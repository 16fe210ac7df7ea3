"""How secrets are kept.

Guarantee: what is sealed opens only with its key and only where it was sealed (format, key id, object and field are
bound to it), and whatever does not open is a typed error, never an empty value and never the ciphertext. No error, repr
or mask in this room shows a key or a secret value. Pure apart from drawing nonces and keys.
"""
