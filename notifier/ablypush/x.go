package ablypush

import _ "github.com/ably/ably-go/ably"
