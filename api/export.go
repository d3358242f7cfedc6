package api

import "github.com/bugle-push/bugle/notifier"

// AuditLine is an entry of the audit as its export has it, for others who write one.
func AuditLine(e notifier.AuditEntry) AdminAuditEntry { return auditEntryOf(e) }
