"""What the documents for users say, done as it is written there."""

from lib import document, topology


@topology(timeout=240)
def test_C2_the_readme_leads_from_nothing_to_two_hosts(d1, d2):
    assert document.run("README.md", [d1, d2]) >= 5


@topology(timeout=400)
def test_C2_troubleshooting_by_symptom(d1, d2):
    document.run("docs/howto/troubleshooting.md", [d1, d2])
