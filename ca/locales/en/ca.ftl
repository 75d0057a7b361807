help-warifu-ca = The issuing authority (ca). It holds one half of the organization's keys, and trusts only its own reading of the ledger. It listens nowhere, and dials out to the kms.
help-warifu-ca-init = Make the keys in the HSM, and write statement.json, whose fingerprint the officers compare. What is there stays as it is
help-warifu-ca-found = Sign a founding that the officers have signed, and serve its organization from then on
help-warifu-ca-doctor = Look for what does not work, each finding with what to do. Changes nothing, and may run beside the service. Ends with 6 if something does not work
help-warifu-ca-backup = Make a backup, also while the service runs. Only its custodians together can open it
help-warifu-ca-restore = Restore a backup on a new machine: first writes the request for the custodians; given their --pieces, restores
help-warifu-ca-rotate = Make new keys beside those in use, and write rotation.json, which officers order. Until then nothing changes; the service runs on
help-warifu-ca-run = Follow the ledger, and make the keys and certificates that it asks for, until told to stop. Prints ready when it does

fault-other-ca = The founding names other keys for the ca than those in this HSM.
    .remedy = Go through the founding again with this ca's statement.json.
fault-founded-already = This ca serves the organization { $organization } already.
    .remedy = Set up another ca for another organization.
fault-not-founded = This ca has no organization yet.
    .remedy = Run “warifu-ca found” with the founding that the officers signed.
fault-other-kms = The kms's key in the configuration is not the one in the founding.
    .remedy = Check the kms's statement or key in the configuration.
