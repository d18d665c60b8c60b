"""Words of others in Markdown: they are shown as they were written."""

from appliance.ui.markdown import plain


def test_words_of_others_mean_nothing_in_markdown():
    assert plain("<b>*x*</b>\n[a](b)") == r"\<b\>\*x\*\</b\> \[a\](b)"
    assert plain("# 1\t$x$ &lt; ~`|_{}!+\\") == r"\# 1 \$x\$ \&lt; \~\`\|\_\{\}\!\+" + "\\\\"
    assert plain(7) == "7"
