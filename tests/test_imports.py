"""Features import core, auth and themselves; anything else is an arrow that is written down here."""

import grimp

from audifi.app import FEATURES

ARROWS: set[tuple[str, str]] = {
    ("compliance", "ledger"),
    ("dividends", "compliance"),
    ("dividends", "ipos"),
    ("dividends", "ledger"),
    ("dividends", "masters"),
    ("funding", "compliance"),
    ("funding", "ledger"),
    ("ipos", "compliance"),
    ("ipos", "ledger"),
    ("ipos", "masters"),
    ("notices", "ledger"),
    ("payments", "funding"),
    ("payments", "ledger"),
    ("ipos", "subscriptions"),
    ("masters", "subscriptions"),
    ("resale", "compliance"),
    ("resale", "dividends"),
    ("resale", "ipos"),
    ("resale", "ledger"),
    ("resale", "masters"),
    ("royalties", "dividends"),
    ("royalties", "ipos"),
    ("royalties", "ledger"),
    ("royalties", "masters"),
    ("subscriptions", "ledger"),
    ("subscriptions", "payments"),
}
"""(importer, imported) of two features, as their specification names them."""


def test_features_import_each_other_only_along_arrows() -> None:
    graph = grimp.build_graph("audifi", exclude_type_checking_imports=True)
    names = {feature.name for feature in FEATURES}
    imports = {
        (importer.split(".")[1], imported.split(".")[1])
        for name in names
        for importer in graph.find_descendants(f"audifi.{name}")
        for imported in graph.find_modules_directly_imported_by(importer)
        if imported.count(".")
    }

    between = {(importer, imported) for importer, imported in imports if importer != imported}
    allowed = {(name, package) for name in names for package in ("core", "auth")} | ARROWS
    assert between <= allowed
