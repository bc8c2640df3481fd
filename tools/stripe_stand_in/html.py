"""The frame of the stand-in's pages."""

from html import escape

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 30rem; margin: 3rem auto; padding: 0 1rem; color: #1a1f36 }
.note { background: #fff4d6; padding: .5rem 1rem; border-radius: .4rem } .error { color: #a40000 }
table { width: 100%; border-collapse: collapse } td { padding: .3rem 0 } td + td { text-align: right }
form { margin: 1rem 0 } button, select { font: inherit; padding: .4rem 1rem; margin: .2rem .3rem .2rem 0 }
"""

# What the pages offer beside *pay* and *decline*.
CARDS = {
    "pm_card_visa": "4242… pays",
    "pm_card_visa_chargeDeclined": "0002: declined",
    "pm_card_visa_chargeDeclinedInsufficientFunds": "9995: insufficient funds",
    "pm_card_chargeCustomerFail": "0341: can be saved, charges fail",
    "pm_card_authenticationRequired": "3184: asks for authentication",
    "pm_card_bypassPending": "0077: pays, money is available at once",
    "pm_card_createDispute": "0259: pays, then disputes",
    "pm_card_createDisputeInquiry": "1976: pays, then inquires",
    "pm_card_refundFail": "5126: pays, a refund fails later",
    "pm_card_pendingRefund": "7726: pays, a refund is pending",
    "pm_sepa_succeeds": "SEPA debit that succeeds in days",
    "pm_sepa_fails": "SEPA debit that fails in days",
}


def money(amount: int, currency: str) -> str:
    return f"{amount // 100}.{amount % 100:02} {currency.upper()}"


def button(label: str, value: str, *, name: str = "action", target: str = "") -> str:
    """Return a form of one button; `target`: the object it is about."""
    about = f'<input type="hidden" name="id" value="{escape(target)}">' if target else ""
    return (
        f'<form method="post">{about}<button name="{name}" value="{escape(value)}" '
        f'data-testid="{escape(value)}">{escape(label)}</button></form>'
    )


def cards(label: str, *, target: str = "") -> str:
    """Return the form that chooses a test card."""
    options = "".join(f'<option value="{name}">{escape(text)}</option>' for name, text in CARDS.items())
    about = f'<input type="hidden" name="id" value="{escape(target)}">' if target else ""
    return (
        f'<form method="post">{about}<select name="card" aria-label="Test card">{options}</select>'
        f'<button name="action" value="card">{escape(label)}</button></form>'
    )


def page(title: str, *parts: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
        f'<p class="note">Stand-in of Stripe: no money moves.</p><h1>{escape(title)}</h1>{"".join(parts)}</html>'
    )
