#!/usr/bin/env python3
"""Writes src/table.rs from the bindings of cryptoki-sys: python3 gen.py BINDINGS.rs > src/table.rs

BINDINGS.rs is src/bindings/x86_64-unknown-linux-gnu.rs of the version of cryptoki-sys in Cargo.lock. The compiler checks the
result: every entry of CK_FUNCTION_LIST must be there, with its own type.
"""

import re
import sys

# Functions whose forwarded call is replaced by one in src/hooks: the device's state and its quirks.
HOOKS = {
    "C_Initialize": "initialize",
    "C_Finalize": "finalize",
    "C_GetSlotList": "get_slot_list",
    "C_GetSlotInfo": "get_slot_info",
    "C_GetTokenInfo": "get_token_info",
    "C_GetMechanismList": "get_mechanism_list",
    "C_GetMechanismInfo": "get_mechanism_info",
    "C_OpenSession": "open_session",
    "C_CloseSession": "close_session",
    "C_CloseAllSessions": "close_all_sessions",
    "C_Login": "login",
    "C_EncryptInit": "encrypt_init",
    "C_DecryptInit": "decrypt_init",
    "C_Encrypt": "encrypt",
    "C_GetAttributeValue": "get_attribute_value",
    "C_GenerateKeyPair": "generate_key_pair",
}

text = open(sys.argv[1], encoding="utf-8").read()
fields = re.search(r"pub struct CK_FUNCTION_LIST \{(.*?)\n\}", text, re.S).group(1)


def arguments(name):
    pattern = r'pub type CK_%s\s*=\s*::std::option::Option<\s*unsafe extern "C" fn\((.*?)\)\s*->\s*CK_RV' % name
    inside = re.sub(r"\s+", " ", re.search(pattern, text, re.S).group(1))
    pairs = [a.strip().split(": ", 1) for a in inside.split(",") if a.strip()]
    return [(n.replace("arg", "a", 1), t.replace("::std::os::raw::", "")) for n, t in pairs]


def facts(name, args):
    call = 'Call::to("%s")' % name
    if args and args[0][1] == "CK_SESSION_HANDLE":
        call += ".session(a1)"
    if args and args[0][1] == "CK_SLOT_ID":
        call += ".slot(a1)"
    if len(args) > 1 and args[1][1] == "*mut CK_MECHANISM":
        call += ".mechanism(a2)"
    # A buffer and its length, by convention the last two arguments: asked with NULL for the size first.
    if len(args) > 1 and args[-1][1] == "*mut CK_ULONG" and args[-2][1].startswith("*mut"):
        call += ".output(%s.cast(), %s)" % (args[-2][0], args[-1][0])
    return call


print("// Written by gen.py: do not edit.")
print()
print("functions! {")
for name in re.findall(r"pub (C_\w+): CK_C_", fields):
    # Its entry is written by hand: it gives out the simulator's own list.
    if name == "C_GetFunctionList":
        continue
    args = arguments(name)
    listed = ", ".join("%s: %s" % a for a in args)
    print("    %s(%s) [%s]%s;" % (name, listed, facts(name, args), " => " + HOOKS[name] if name in HOOKS else ""))
print("}")


def names(title, doc, prefix, kind):
    found = re.findall(r"pub const (%s\w+): %s = (\d+);" % (prefix, kind), text)
    print()
    print("/// %s" % doc)
    print("pub(crate) const %s: &[(&str, u64)] = &[" % title)
    for name, value in found:
        print('    ("%s", %#x),' % (name, int(value)))
    print("];")


names("RETURN_VALUES", "Every return value that PKCS#11 names.", "CKR_", "CK_RV")
names("MECHANISMS", "Every mechanism that PKCS#11 names.", "CKM_", "CK_MECHANISM_TYPE")
