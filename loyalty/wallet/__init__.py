"""Passes for Apple Wallet and Google Wallet: the card in a member's phone, with the balance that tills are told.

| room | what happens there |
|---|---|
| `passes` | a pass is made, retired when it is lost, voided when its owner is erased |
| `issuers` | how the brand signs: certificates and keys, and what is wrong with them |
| `face` | what a pass shows |
| `apple` | the signed file of Apple Wallet |
| `icons` | its pictures |
| `google` | the link to Google Wallet, and its object there |
| `apns` | Apple's push service |
| `telling` | which passes changed, and wallets told of it |

The verbs are called from here: `from loyalty import wallet; wallet.void(profile)`.
"""

from loyalty.wallet.passes import current, current_or_new, of, retire, void

__all__ = ["current", "current_or_new", "of", "retire", "void"]
