### What every service says at its console

help-arg-config = The configuration (TOML)
help-arg-so_pin_file = A file with the HSM's security officer's PIN (SO PIN). Without it, one is drawn and forgotten: nobody can then set another PIN
help-arg-file = The founding; the signature is added to this file
help-arg-fingerprint = The fingerprint that the officers read out; without it, you are asked
help-exit-codes = Exit codes: 0 done / 1 not done (why, and what to do, is printed last) / 6 doctor found something that does not work

## Confirming a founding

founding-shown = The founding of an organization, signed by all its officers.
founding-fingerprint = fingerprint
founding-zone = time zone
founding-officer = officer
founding-card = { $member } (card { $card })
founding-signs = signs with { $key }
founding-tls = TLS key { $key }
founding-seconds = { $seconds } s
founding-lease = a site's lease
founding-pin = a PIN entry lasts
founding-unattested = unattested cards
founding-yes = allowed
founding-no = not allowed
founding-roles = officers' other roles
founding-apart = neither administrator nor auditor
founding-together = allowed
founding-ca = ca
founding-kms = kms
founding-question = Compare the fingerprint with the one that the officers read out. If it is the same, type yes:

## Faults at the console

fault-file = { $path } cannot be used ({ $why }).
    .remedy = Check where the file is, and its permissions.
fault-config = The configuration { $path } cannot be read.
    { $why }
    .remedy = Correct the line that is shown.
fault-json = { $path } is not what it should be ({ $why }).
    .remedy = Check that it is the right file.
fault-in-use = A running service uses the folder { $folder }.
    .remedy = Stop it first.
fault-kms-twice = The configuration names the key of the kms twice.
    .remedy = Take one of kms.statement and kms.tls_key out.
fault-not-the-kms = { $path } is not the statement of a kms.
    .remedy = Name the statement.json that the kms's init wrote.
fault-not-a-founding = { $path } is not a founding that all its officers signed.
    .remedy = Name the file that was written at the officers' desk.
fault-nobody-confirms = Nobody is here to compare the fingerprint: this is not a terminal.
    .remedy = Give the fingerprint with --fingerprint.
fault-not-confirmed = It was not confirmed, and nothing was signed.
    .remedy = If the fingerprints differ, ask the officers about the file.
fault-other-fingerprint = The fingerprint of this founding is { $found }, not { $expected }.
    .remedy = Stop here, and ask the officers about the file.
fault-keys-not-in-use = The organization's ledger, as far as it is here, does not name the keys in this HSM.
    .remedy = Let the service run until it has read the ledger, then give the command again.
fault-former-transport-key = The last change of this site's keys is not finished: something may still be sealed to the former key.
    .remedy = Let the site run until it has finished (its log says so), then give the command again.
fault-listen = Cannot listen on { $address } ({ $why }).
    .remedy = Check “listen” in the configuration.
fault-randomness = This computer gives no random numbers.
    .remedy = Restart the computer.
fault-system = This computer does not work as it should ({ $why }).
    .remedy = Restart the computer.
fault-unexpected = Something unexpected went wrong ({ $why }).
    .remedy = Note this message down, and call the helpdesk.
fault-stopping = It is about to end.
    .remedy = Wait until it has ended, then start it again.
fault-no-organization = The configuration names no organization.
    .remedy = Write the founding's fingerprint as “organization” into the configuration.

## The HSM

hsm-module-unusable = The HSM's module { $path } cannot be used ({ $why }).
    .remedy = Check hsm.module in the configuration.
hsm-token-missing = The HSM shows no token labelled “{ $label }”.
    .remedy = Check that the HSM is connected and that hsm.token_label is right. The first time, run init.
hsm-token-exists = The HSM has a token labelled “{ $label }” already. Nothing was changed.
    .remedy = Choose another label, or use the one that is there.
hsm-no-free-slot = The HSM has no room for a new token.
    .remedy = Check the HSM's capacity.
hsm-token-label-length = A token's label has 1 to 32 bytes.
    .remedy = Shorten hsm.token_label in the configuration.
hsm-already-open = The token “{ $label }” is open with another configuration.
    .remedy = Check that there is only one configuration.
hsm-pin-wrong = The token “{ $label }” refused the PIN. It is not tried again.
    .remedy = Check the file that hsm.pin_file names.
hsm-pin-refused-before = The HSM has refused the PIN in { $path } before. The same one is not tried twice.
    .remedy = Write the right PIN into { $path }.
hsm-pin-unusable = The PIN of token “{ $label }” is locked, or was never set.
    .remedy = Have the HSM's administrator set it anew.
hsm-pin-unreadable = The PIN file { $path } cannot be read ({ $why }).
    .remedy = Check where the file is, and its permissions.
hsm-pin-exposed = Others may use the PIN file { $path } (mode { $mode }).
    .remedy = Let only its owner use it, with chmod 600.
hsm-mechanism-missing = The HSM lacks { $name }, which is needed.
    .remedy = Use an HSM that has it.
hsm-capacity-exhausted = The HSM holds no more keys.
    .remedy = Enlarge the HSM's capacity.
hsm-key-missing = The key “{ $label }” is gone from the HSM.
    .remedy = Connect the HSM that holds it, or call the helpdesk.
hsm-key-incomplete = The public half of key “{ $label }” is gone from the HSM. It is not replaced by a new key.
    .remedy = Call the helpdesk.
hsm-key-ambiguous = The HSM has several keys labelled “{ $label }”.
    .remedy = Have the helpdesk find out which is superfluous.
hsm-key-exposed = The HSM's key “{ $label }” can be read out of it, or once could.
    .remedy = Do not use this key, and call the helpdesk.
hsm-other-token = This HSM does not open the secrets in the database. They do not seem to belong together.
    .remedy = Connect the HSM that belongs to this database.
hsm-fails = The HSM does not answer as it should ({ $why }).
    .remedy = Check its power and connection, then start again.

## The database

database-cannot-be-opened = The database { $path } cannot be opened ({ $why }).
    .remedy = Check the folder “data” in the configuration, and its permissions.
database-other-version = The database is one of another version of the program ({ $why }).
    .remedy = Use the version that was used before, or a newer one.
database-in-use = Another program uses the database.
    .remedy = Check whether the same service runs twice.
database-read-only = The database cannot be written to.
    .remedy = Check the permissions of the data folder.
database-disk-full = The disk of the database is full.
    .remedy = Make room on it, then start again.
database-damaged = The database is damaged.
    .remedy = Do not run the service, and call the helpdesk.
database-damaged-file = The database { $path } is damaged.
    .remedy = Do not run the service, and call the helpdesk.
database-not-there = The database's file cannot be opened.
    .remedy = Check the folder “data” in the configuration.
database-fails = The database does not work as it should ({ $why }).
    .remedy = Check the disk, then start again.
database-unreachable = PostgreSQL does not answer ({ $why }).
    .remedy = Check that PostgreSQL runs, and “url” in the configuration's section “database”. Once it answers, the service goes on by itself.
database-login-refused = PostgreSQL does not let the service in ({ $why }).
    .remedy = Check the user in “url”, the file “password_file”, and pg_hba.conf of PostgreSQL.
database-not-made = PostgreSQL does not have that database ({ $why }).
    .remedy = Make it as the page “database” says, or correct “url”.
database-no-rights = The service may not do what it has to in its database ({ $why }).
    .remedy = Make the service's user the owner of the database, as the page “database” says.
database-not-postgres = “url” in the section “database” is not the address of a PostgreSQL database.
    .remedy = Write it as postgres:///warifu, or postgres://user@host/warifu?sslmode=verify-full.
database-password-in-address = There is a password in the address of the database.
    .remedy = Put it in a file that the service alone can read, and name that file with “password_file”.
database-not-verified = The database is on another machine, { $host }, and the connection would not prove that it is the right one.
    .remedy = Add ?sslmode=verify-full&sslrootcert=FILE to “url”.
database-too-old = PostgreSQL { $version } is too old.
    .remedy = Use PostgreSQL 14 or newer.
database-other-encoding = The database keeps text as { $encoding }, not as UTF-8.
    .remedy = Make another database with ENCODING 'UTF8', as the page “database” says.
database-not-durable = PostgreSQL runs with “{ $setting }” off: a power cut would lose what was confirmed.
    .remedy = Set { $setting } = on in postgresql.conf, then restart PostgreSQL.
database-copy-differs = The copy of the database is not the same ({ $table }). Nothing was kept of it.
    .remedy = See that nobody else uses either database, then run the command again.
fault-open-to-others = Others than its owner may use the file { $path }, which holds a secret.
    .remedy = Give it to the service's user, and take it from all others: chmod 600.
database-put-back = The database has { $size } entries of the ledger, and had { $had }: it was put back to an earlier state.
    .remedy = Do not run the service, and call the helpdesk.

## The ledger and the kms

ledger-other-organization = The ledger is that of another organization ({ $found }), not of { $expected }.
    .remedy = Compare the fingerprint of the founding, as it was written down, with the one that was given: --organization, or “organization” in the configuration.
ledger-unsound = The ledger that came from the kms is not sound ({ $why }).
    .remedy = Do not run the service, and call the helpdesk.
kms-unreachable = The kms at { $address } cannot be reached ({ $why }).
    .remedy = Check the network connection.
kms-not-trusted = { $address } is not the kms of this organization, or does not accept our key.
    .remedy = Check the kms's address and key in the configuration.
kms-timed-out = The kms at { $address } does not answer in time.
    .remedy = Check that the kms runs.
kms-broke-off = The connection to the kms at { $address } broke.
    .remedy = Check the network connection.
kms-refuses = The kms refuses ({ $why }).
    .remedy = Use the same version of both programs.

## backups

help-arg-backup = The backup
help-arg-out = Where the backup is written: a new file
help-arg-without_lost = Go on where halves were lost in an earlier disaster
help-arg-pieces = The pieces that the custodians' cards gave, as “warifu-admin backup open” wrote them
help-arg-organization = The fingerprint of the founding, as it was written down then

backup-not-founded = This server has no organization yet, so there is nothing to back up.
    .remedy = Go through the founding first.
backup-no-custodians = Nobody has named the custodians of this server's backups yet.
    .remedy = Have two officers name them with “warifu-admin backup custodians”.
backup-custodians-gone = Only { $living } of the custodians have a card that works; { $needed } are needed.
    .remedy = Have two officers name others with “warifu-admin backup custodians”.
backup-halves-lost = This server's halves of the keys of { $count } units are not here ({ $units }). No backup was made.
    .remedy = If it was restored without them, add --without-lost, and have the units given new keys. If not, keep all older backups, and call whoever looks after this server.
backup-other-keys = The keys in this HSM are not those that the ledger has for this server.
    .remedy = Check that the configuration names the right HSM.
backup-not-empty = This server has a database already, so nothing is restored.
    .remedy = If this is the new machine: stop the service, empty the folder data, and begin again with init, which keeps its keys.
backup-other-service = This is a backup of the other server.
    .remedy = Name a backup of this one.
backup-exists = { $path } is there already.
    .remedy = Choose a new name.
