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
