### What every program says in the same words

problem = That did not work: { $what }
remedy = → { $remedy }
helpdesk = Helpdesk: { $helpdesk }

level-ok = ok
level-warning = warn
level-fault = FAIL

help-usage = Usage:
help-commands = Commands
help-options = Options
help-arguments = Arguments
help-arg-json = Answer in JSON, for programs
help-arg-lang = Language, ja or en [default: from the locale]
help-arg-help = Show this help
help-arg-version = Show the version
help-default = [default: { $value }]

## Mistakes in a command line

usage-argument-unknown = There is no option “{ $argument }”.
usage-argument-missing = Something is missing: { $argument }
usage-argument-repeated = “{ $argument }” can be given once only.
usage-arguments-conflict = “{ $argument }” and “{ $other }” exclude each other.
usage-command-unknown = There is no command “{ $command }”.
usage-command-missing = No command was given.
usage-value-missing = “{ $argument }” needs a value.
usage-value-invalid = “{ $value }” cannot be the value of “{ $argument }”.
usage-value-not-one-of = “{ $value }” cannot be the value of “{ $argument }”. These can: { $values }
usage-value-superfluous = “{ $argument }” takes no value: { $value }
usage-equals-missing = The value of “{ $argument }” has to follow an equals sign.
usage-number-of-values = “{ $argument }” needs another number of values.
usage-not-text = Something in the command line cannot be read as text.
usage-other = The command line is not well formed.
usage-suggestion = Check whether you mean “{ $suggestion }”.
usage-see-help = See “{ $command }”.

## What the computer said (used within other sentences)

system-not-found = it is not there
system-not-permitted = no permission to use it
system-exists = it is there already
system-address-in-use = another program uses it
system-address-not-here = not an address of this computer
system-disk-full = the disk is full
system-read-only = the disk is read-only
system-is-a-folder = it is a folder, not a file
system-not-a-folder = it is not a folder
system-nobody-answers = nobody answers
system-broke-off = the connection broke
system-timed-out = no answer in time
system-not-text = it cannot be read as text
system-too-short = it ends too early
system-other = { $why }

## Why the ledger refuses

kind-member = member
kind-card = card
kind-contract = contract
kind-unit = unit
kind-grant = grant
kind-site = site

rejected-malformed = The order is not well formed ({ $why }).
    .remedy = Use the same version of all programs.
rejected-out-of-step = The order does not fit the ledger as it is now.
    .remedy = Run the command again.
rejected-unsigned = Nobody signed it.
    .remedy = Sign with an officer's or administrator's card.
rejected-unknown-signer = The card that signed is not enrolled in this organization.
    .remedy = Sign with a card that is.
rejected-bad-signature = A signature is wrong.
    .remedy = Insert the card again, and sign once more.
rejected-signed-twice = The same card signed twice.
    .remedy = Let another person's card sign.
rejected-signer-not-live = The card that signed is suspended or revoked.
    .remedy = Sign with a card that works.
rejected-wrong-role = Nobody who signed may do this.
    .remedy = Use the card of an officer or administrator.
rejected-two-people = This needs the signatures of two people.
    .remedy = Insert a second officer's card, then run the command again.
rejected-for-oneself = Nobody signs for more rights of his own.
    .remedy = Let another officer sign.
rejected-other-organization = It is an order of another organization.
    .remedy = Check whether it was made for this one.
rejected-replayed = This order has been carried out already.
    .remedy = Nothing is left to do.
rejected-expired = It is too long ago that this order was signed.
    .remedy = Write the order anew.
rejected-expiry-too-far = An order may wait for seven days at most.
    .remedy = Write it anew with a shorter time.
rejected-fork = The key server (kms) showed two ledgers that contradict each other.
    .remedy = Stop here, and call the helpdesk at once.
rejected-empty = The order does nothing.
    .remedy = Write the order anew.
rejected-unknown = The ledger does not know the { $kind } that the order names.
    .remedy = See the lists, and name it again.
rejected-exists = That { $kind } exists already.
    .remedy = See the lists.
rejected-over = That { $kind } has ended, for ever.
    .remedy = Make a new one, if you need it.
rejected-member-mismatch = The card says another name or contract of its holder than the ledger.
    .remedy = See the list of members.
rejected-not-attested = This card cannot prove that its keys were made inside it, and the organization's policy demands that.
    .remedy = Use another card.
rejected-ends-in-past = That last day is over.
    .remedy = Name today or a later day.
rejected-unit-malformed = This kind of unit does not go with the sites, contract or targets that were named.
    .remedy = Check what you named.
rejected-wrong-right = Front desks route and do not open; other units open and do not route.
    .remedy = See the list of units for the kind of this one.
rejected-grant-exists = The card has this unit already.
    .remedy = Nothing is left to do.
rejected-card-full = The card has no room for another unit.
    .remedy = Revoke a grant that is no longer needed first.
rejected-not-suspended = The card is not suspended.
    .remedy = Nothing is left to do.
rejected-card-suspended = The card is suspended.
    .remedy = Resume it first.
rejected-role-under-contract = A contractor's people cannot be officers or administrators.
    .remedy = Give the role to a member of the organization.
rejected-policy-out-of-bounds = The policy is out of bounds (a lease of 1 second to 24 hours, a PIN entry for up to 24 hours).
    .remedy = Choose other values.
rejected-lock-out = Fewer than two officers would be left.
    .remedy = Enrol another officer first.
rejected-unit-without-key = That unit has no key yet.
    .remedy = Wait a little, then run the command again.
rejected-repeated-point = The keys of this card are enrolled already.
    .remedy = Use another card.
rejected-not-founding = It cannot found an organization (three officers are needed, or two with two cards each).
    .remedy = Go through the founding again at the officers' desk.
rejected-unsound = What the services recorded about a key is not sound ({ $why }).
    .remedy = Stop here, and call the helpdesk.
rejected-other = The ledger refuses this order ({ $why }).
    .remedy = Check what you ordered.
