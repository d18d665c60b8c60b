"""`python -m appliance`: the command line, also where the console script is not on the path."""

from appliance.cli.main import main

if __name__ == "__main__":
    main()
