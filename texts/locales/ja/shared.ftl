### どのプログラムも同じ言葉で言うこと

problem = できませんでした: { $what }
remedy = → { $remedy }
helpdesk = 分からないときの連絡先: { $helpdesk }

level-ok = 正常
level-warning = 注意
level-fault = 異常

help-usage = 使い方:
help-commands = コマンド
help-options = オプション
help-arguments = 引数
help-arg-json = プログラム向けに JSON で出力します
help-arg-lang = 言語(ja または en)[既定: ロケールに従う]
help-arg-help = この説明を表示します
help-arg-version = 版を表示します
